"""DBOS Transact: a durable workflow of two steps on Postgres, started by a webhook, its key the workflow's id."""

import os

import uvicorn
from dbos import DBOS, Queue, SetWorkflowID
from fastapi import FastAPI

from bench.contenders.work import book, decide

app = FastAPI()
DBOS(config={"name": "bench", "system_database_url": os.environ["DBOS_URL"], "log_level": "ERROR"})
queue = Queue("orders", worker_concurrency=8, concurrency=8) if os.environ.get("DBOS_QUEUE") else None


@DBOS.step()
def choose(order: dict) -> dict:
    return decide(order)


@DBOS.step(retries_allowed=True, max_attempts=4)
def act(order: dict, choice: dict) -> dict:
    return book(order, choice)


@DBOS.workflow()
def dispatch(order: dict) -> dict:
    return act(order, choose(order))


@app.post("/orders", status_code=202)
def take(body: dict) -> dict:
    with SetWorkflowID(body["order"]["id"]):
        if queue:
            queue.enqueue(dispatch, body["order"])
        else:
            DBOS.start_workflow(dispatch, body["order"])
    return {}


@app.get("/ready")
def ready() -> dict:
    return {}


if __name__ == "__main__":
    DBOS.launch()
    uvicorn.run(app, port=int(os.environ["HOOK_PORT"]), log_level="warning", access_log=False)
