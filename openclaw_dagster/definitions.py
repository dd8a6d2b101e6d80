"""What Dagster loads: every system of `CLAW_SPECS` in the environment `CLAW_ENVIRONMENT`."""

import logging

from openclaw_dagster.compile.system import compile_project
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import read_settings

_shop = Workspace(read_settings())
for _refused in _shop.project.refused:
    # one bad file among good ones: the others load, and this one is said loudly
    logging.getLogger("openclaw_dagster").error("not loaded: %s", _refused.render())

defs = compile_project(_shop)
