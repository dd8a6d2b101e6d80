"""Says at once that a run's worker is dead, and makes its cases due again."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def bury(run_id: str, pid: int, code: int) -> None:
    """Report the run failed and hand its cases back; runs in a process of its own and never returns."""
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    try:
        report(run_id, by=f"pool: worker {pid} ended with {code}", ended=ended)
        with suppress(OSError):  # nobody may be there to read it
            said = f"worker {pid} died ({ended}) in run {run_id[:8]}: its cases are due again"
            print(said, file=sys.stderr, flush=True)
    except BaseException as error:
        print(f"the end of worker {pid} could not be reported: {error}", file=sys.stderr)
    finally:
        os._exit(0)


def report(run_id: str, by: str, ended: str) -> None:
    """Make the cases of a dead worker's run due again, and say on the run's page how the worker ended."""
    from dagster import DagsterInstance

    from openclaw_dagster.runtime.tags import CLAIM
    from openclaw_dagster.runtime.workspace import Workspace
    from openclaw_dagster.settings import read_settings

    shop = Workspace(read_settings())
    held = shop.ledger.orphan(run_id, by=by)
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not held and CLAIM in run.tags:  # it died before it took hold of them
            shop.ledger.release(run.tags[CLAIM], by=by)
        if run is not None and not run.is_finished:
            instance.report_run_failed(
                run,
                f"The worker of this run ended ({ended}). Its cases are due again; nothing has to be done by hand.",
            )


if __name__ == "__main__":
    report(sys.argv[1], by=sys.argv[2], ended=sys.argv[3])
