"""Whether a run may still live that is a process of its own: that process cannot be asked, so its claim and its log are."""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRun

from openclaw_dagster.clock import SECOND, iso
from openclaw_dagster.runtime.tags import CLAIM
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.ledger import Ledger

#: How long (ms) a run that holds no case any more may say nothing: it ends its ops, and each of them says so.
SILENCE = 15 * SECOND


def gone(instance: DagsterInstance, ledger: Ledger, run: DagsterRun) -> str | None:
    """Return why a run is taken for dead, None while it may live.

    It may as long as a lease of its claim does, which is from before its process has started, and after that while its
    log grows. Dagster takes every doubt for a failure, so whoever cannot be asked is no reason.
    """
    claim = run.tags.get(CLAIM)
    if claim is None:  # launched by hand: nothing is known of it
        return None
    try:
        until = ledger.lease(claim, run.run_id)
    except DatabaseAway:
        return None
    now, said = ledger.clock.now(), _last_word(instance, run.run_id)
    if now < max(until or 0, said + SILENCE):
        return None
    silent = f"it has said nothing since {iso(said)}" if said else "it has never said anything"
    return f"its process is gone: no lease of its claim lasts any more, and {silent}"


def _last_word(instance: DagsterInstance, run_id: str) -> int:
    """Return when (ms) a run wrote into its log last; 0 if it never did."""
    last = instance.event_log_storage.get_logs_for_run(run_id, limit=1, ascending=False)
    return int(last[0].timestamp * 1000) if last else 0
