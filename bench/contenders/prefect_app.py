"""Prefect: a flow of two tasks, called for each order by the process that takes the webhook."""

import os
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from prefect import flow, task
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.contenders.work import book, decide

pool = ThreadPoolExecutor(8)


@task
def choose(order: dict) -> dict:
    return decide(order)


@task(retries=3)
def act(order: dict, choice: dict) -> dict:
    return book(order, choice)


@flow(log_prints=False)
def dispatch(order: dict) -> None:
    act(order, choose(order))


async def take(request: Request) -> JSONResponse:
    pool.submit(dispatch, (await request.json())["order"])
    return JSONResponse({}, 202)


async def ready(_request: Request) -> JSONResponse:
    return JSONResponse({})


if __name__ == "__main__":
    app = Starlette(routes=[Route("/orders", take, methods=["POST"]), Route("/ready", ready)])
    uvicorn.run(app, port=int(os.environ["HOOK_PORT"]), log_level="warning", access_log=False)
