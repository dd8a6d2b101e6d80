"""Where the project is, and what is in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "openclaw_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))


def _ignored(path: Path) -> bool:
    """Tell whether a tool wrote it: folders with a dot, and what is built."""
    folders = path.relative_to(ROOT).parts[:-1]
    return any(
        part.startswith(".") or part in ("build", "dist") or part.endswith(".egg-info") for part in folders
    )


PAGES = sorted(path for path in ROOT.rglob("*.md") if not _ignored(path))


def tracked() -> list[Path]:
    """Return every file of the project that git knows; of an unpacked archive, every file."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
        return [path for path in found if path.is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not _ignored(path)]


def name_of(path: Path) -> str:
    """Return a path as it is written in the project."""
    return path.relative_to(ROOT).as_posix()
