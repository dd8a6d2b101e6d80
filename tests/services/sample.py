"""The sample alone in a folder of its own, for tests that are about one system and not about the other examples."""

from __future__ import annotations

import shutil
from pathlib import Path

SPECS = Path(__file__).parents[2] / "claw_specs"


def copy_sample(specs: Path) -> Path:
    """Write the sample with its policy and the environments into a new folder; return the folder."""
    specs.mkdir(parents=True)
    shutil.copy(SPECS / "dispatch.claw", specs)
    for name in ("policies", "environments"):
        shutil.copytree(SPECS / name, specs / name)
    return specs
