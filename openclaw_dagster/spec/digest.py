"""The digest of a system: what it means, not how its file is laid out."""

from __future__ import annotations

import hashlib
import json

from openclaw_dagster.spec.model import System

#: Raised when the meaning of the compiled form changes, so that old and new digests differ.
LANGUAGE = "1"


def digest_of(system: System) -> str:
    """Return sha256 over the compiled form, the same in every process and for every order of keys."""
    form = system.model_dump(mode="json", by_alias=True)
    # these have no order: a decision runs when its inputs are there; steps keep theirs
    for layer in ("triggers", "decisions", "skip_policies"):
        names = [item.name for item in getattr(system, layer)]
        form[layer] = dict(zip(names, form[layer], strict=True))
    steps = [step.name for step in system.execution]
    form["execution"] = list(zip(steps, form["execution"], strict=True))
    sources = [source.name for source in system.data.sources]
    form["data"]["sources"] = dict(zip(sources, form["data"]["sources"], strict=True))
    form["language"] = LANGUAGE
    form["files"] = {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in system.files.items()
        if name != system.path and not name.endswith(".table.yaml")
    }
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
