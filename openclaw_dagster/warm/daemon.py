"""`python -m openclaw_dagster.warm.daemon WORKSPACE_FILE`: Dagster's daemon, over connections that are kept.

`dagster-daemon run` does the same work; on Postgres it connects anew for each of its questions, some ten a look.
"""

from __future__ import annotations

import sys

from dagster import DagsterInstance
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import daemon_controller_from_instance
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from openclaw_dagster.warm.instance import keep


def main(workspace_file: str) -> None:
    """Keep schedules, sensors and run monitoring until told to stop."""
    setup_interrupt_handlers()
    try:
        with capture_interrupts(), DagsterInstance.get() as instance:
            keep(instance)
            target = WorkspaceFileTarget([workspace_file])
            with daemon_controller_from_instance(instance, target) as controller:
                controller.check_daemon_loop()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main(sys.argv[1])
