"""Stock Dagster: a table of events, a sensor that asks for a run each, a job of two ops, the in-process executor."""

import json
import os

import dagster as dg
import sqlalchemy as sa

from bench.contenders.work import book, decide

engine = sa.create_engine(os.environ["EVENTS_URL"])


@dg.op
def choose(context: dg.OpExecutionContext) -> dict:
    return {"order": json.loads(context.run.tags["order"])} | {
        "choice": decide(json.loads(context.run.tags["order"]))
    }


@dg.op
def act(work: dict) -> None:
    book(work["order"], work["choice"])


@dg.job(executor_def=dg.in_process_executor)
def dispatch() -> None:
    act(choose())


@dg.sensor(job=dispatch, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def events(context: dg.SensorEvaluationContext):
    after = int(context.cursor or 0)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("SELECT seq, id, body FROM events WHERE seq > :after ORDER BY seq LIMIT 100"),
            {"after": after},
        ).all()
    for row in rows:
        yield dg.RunRequest(run_key=row.id, tags={"order": row.body})
    if rows:
        context.update_cursor(str(rows[-1].seq))


defs = dg.Definitions(jobs=[dispatch], sensors=[events])
