"""`python -m openclaw_dagster.web.fitness`: whether the files as they are now may be loaded; if not, prints why.

With the word `door` also whether webhooks and pages may be served with them, as a host without a web process does not.
"""

from __future__ import annotations

import sys

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import Settings, read_settings
from openclaw_dagster.web.secrets import check_door


def troubles(settings: Settings, *, door: bool) -> list[str]:
    """Return what keeps the files from being loaded, one text each: errors in them, and a `door` that would fall open."""
    try:
        shop = Workspace(settings)
        if door:
            check_door(shop)
    except ClawError as error:
        return [f"not loaded: {error}"]
    return [refused.render() for refused in shop.project.refused]


if __name__ == "__main__":
    found = troubles(read_settings(), door="door" in sys.argv)
    print("\n\n".join(found))
    sys.exit(bool(found))
