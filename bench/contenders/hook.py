"""A webhook that writes each order into a table and answers: what stock Dagster needs in front of it."""

import os

import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

engine = sa.create_engine(os.environ["EVENTS_URL"])
numbered = (
    "BIGSERIAL PRIMARY KEY" if engine.dialect.name == "postgresql" else "INTEGER PRIMARY KEY AUTOINCREMENT"
)


def write(order: dict) -> None:
    import json

    statement = sa.text("INSERT INTO events (id, body) VALUES (:id, :body) ON CONFLICT DO NOTHING")
    with engine.begin() as connection:
        connection.execute(statement, {"id": order["id"], "body": json.dumps(order)})


async def take(request: Request) -> JSONResponse:
    await run_in_threadpool(write, (await request.json())["order"])
    return JSONResponse({}, 202)


async def ready(_request: Request) -> JSONResponse:
    return JSONResponse({})


if __name__ == "__main__":
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"CREATE TABLE IF NOT EXISTS events (seq {numbered}, id TEXT UNIQUE, body TEXT)")
        )
    app = Starlette(routes=[Route("/orders", take, methods=["POST"]), Route("/ready", ready)])
    uvicorn.run(app, port=int(os.environ["HOOK_PORT"]), log_level="warning", access_log=False)
