"""Ways around a refund that waits which lead through Dagster: launches, repetitions, forged tags, documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from websockets.sync.client import connect

from .ways import BACKFILL, LAUNCH, REPEAT, SELECTOR, World

Way = Callable[[World], object]

REFUND = {"solidSelection": ["refund"]}
ONWARDS = {"solidSelection": ["refund", "tell_customer", "close"]}
UPSTREAM = {"solidSelection": ["*refund"]}
SEVERAL = """mutation($p: [ExecutionParams!]!) { launchMultipleRuns(executionParamsList: $p) { __typename
  ... on LaunchMultipleRunsResult { launchMultipleRunsResult { ... on LaunchRunSuccess { run { runId } } } } } }"""
OLD_LAUNCH = LAUNCH.replace("launchRun(", "launchRun: launchPipelineExecution(")
OLD_REPEAT = REPEAT.replace("launchRunReexecution(", "launchRunReexecution: launchPipelineReexecution(")
DELETE = 'mutation { deleteRun(runId: "%s") { __typename } }'


def tags(**said: str) -> dict[str, Any]:
    """Return what a launch says beside its config: tags, with `__` for a slash."""
    return {
        "executionMetadata": {
            "tags": [{"key": key.replace("__", "/"), "value": value} for key, value in said.items()]
        }
    }


def lineage(world: World, with_tags: bool = False) -> dict[str, Any]:
    """Return what makes a run look like one that goes on with the run that waits."""
    parent = world.parked()
    query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
    found = world["agent_1"].graphql(query, {"id": parent}).json["data"]["runOrError"]["tags"]
    known = [{"key": one["key"], "value": one["value"]} for one in found] if with_tags else []
    return {"executionMetadata": {"parentRunId": parent, "rootRunId": parent, "tags": known}}


def several(world: World) -> None:
    params = [{"selector": SELECTOR | REFUND, "mode": "default"}]
    answer = world["agent_1"].graphql(SEVERAL, {"p": params})
    (one,) = answer.json["data"]["launchMultipleRuns"]["launchMultipleRunsResult"]
    world.finished(one["run"]["runId"])


def said(person: str, query: str, status: int, params: Mapping[str, Any] | None = None) -> Way:
    """Return a way that sends a document which is refused with this status."""

    def way(world: World) -> None:
        text = query % world.parked() if "%s" in query else query
        variables = {"p": {"selector": SELECTOR | REFUND, "mode": "default", **(params or {})}}
        answer = world[person].graphql(text, variables)
        assert answer.status == status, answer.text

    return way


def by_link(world: World) -> None:
    literal = (
        'mutation { launchRun(executionParams: {mode: "default", selector: {pipelineName: "stalled_orders", '
    )
    literal += 'repositoryName: "__repository__", repositoryLocationName: "openclaw"}}) { __typename } }'
    assert world["agent_1"].get(f"/graphql?query={quote(literal)}", Accept="*/*").status == 405


def by_batch(world: World) -> None:
    body = json.dumps([{"query": "{ version }"}, {"query": DELETE % world.parked()}]).encode()
    assert world["head_1"].post("/graphql", body, **{"Content-Type": "application/json"}).status == 400


def by_line(world: World) -> None:
    browser = world["agent_1"]
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with connect(
        f"ws://127.0.0.1:{world.host.port}/graphql", subprotocols=["graphql-ws"],  # type: ignore[list-item]
        additional_headers={"Cookie": cookies}, origin=world.host.url,  # type: ignore[arg-type]
    ) as line:  # fmt: skip
        line.send('{"type": "connection_init"}')
        line.recv(10)
        payload = {"query": LAUNCH, "variables": {"p": {"selector": SELECTOR | REFUND, "mode": "default"}}}
        line.send(json.dumps({"type": "start", "id": "1", "payload": payload}))
        assert json.loads(line.recv(10))["type"] == "error"


#: A schedule and a sensor that are evaluated, as Dagster's page for trying out a tick does it.
TRIED = """{ scheduleOrError(scheduleSelector: {repositoryName: "__repository__", repositoryLocationName: "openclaw",
  scheduleName: "inventory_shortage_morning_count"}) { ... on Schedule { futureTicks(limit: 3) { results { ...F } } } } }
  fragment F on DryRunInstigationTick { e: evaluationResult { skipReason } }"""
SENSED = """{ sensorOrError(sensorSelector: {repositoryName: "__repository__", repositoryLocationName: "openclaw",
  sensorName: "stalled_orders_dispatch"}) { ... on Sensor { nextTick { evaluationResult { skipReason } } } } }"""
DRY = """mutation { scheduleDryRun(timestamp: 1798500000, selectorData: {repositoryName: "__repository__",
  repositoryLocationName: "openclaw", scheduleName: "inventory_shortage_morning_count"}) { __typename } }"""


def looked(person: str, query: str) -> Way:
    """Return a way that asks by a link, as an image of another page would; nothing is opened by it."""

    def way(world: World) -> None:
        answer = world[person].get("/graphql?query=" + quote(query), Accept="application/json")
        assert answer.status == 403, answer.text
        assert not world.host.shop.ledger.find(system="inventory_shortage", limit=1)

    return way


def backfill(**more: Any) -> Way:
    selector = {
        "partitionSetName": "stalled_orders_partition_set",
        "repositorySelector": {
            "repositoryName": "__repository__", "repositoryLocationName": "openclaw",
        },
    }  # fmt: skip
    params = {"selector": selector, "partitionNames": ["2026-01-01"], **more}
    return lambda world: world["agent_1"].graphql(BACKFILL, {"p": params})


#: What is tried → how. Each is refused, and leaves one line where an auditor finds it.
WAYS: dict[str, Way] = {
    "the whole job is launched anew": lambda w: w.launch(),
    "the refund alone is selected": lambda w: w.launch(selector=REFUND),
    "the refund and what follows are selected": lambda w: w.launch(selector=ONWARDS),
    "all up to the refund is selected": lambda w: w.launch(selector=UPSTREAM),
    "the step is named as a step key": lambda w: w.launch(stepKeys=["refund"]),
    "several runs at once": several,
    "by a mutation of old": lambda w: w.launch(mutation=OLD_LAUNCH, selector=REFUND),
    "the step is given inputs": lambda w: w.launch(
        selector=REFUND, runConfigData={"ops": {"refund": {"inputs": {"after_write_credit": 1}}}}
    ),
    "the step is given config": lambda w: w.launch(
        selector=REFUND, runConfigData={"ops": {"refund": {"config": {"clearance": "approved"}}}}
    ),
    "the resource is given a case": lambda w: w.launch(
        selector=REFUND, runConfigData={"resources": {"cases": {"config": {"case": w.cases["S-1"]}}}}
    ),
    "the resource is given the claim of another": lambda w: w.launch(
        selector=REFUND, runConfigData={"resources": {"cases": {"config": {"claim": w.claim("S-2")}}}}
    ),
    "retries are switched on": lambda w: w.launch(
        selector=REFUND, runConfigData={"execution": {"config": {"retries": {"enabled": {}}}}}
    ),
    "as a child of the run that waits": lambda w: w.launch(selector=REFUND, **lineage(w)),
    "with all the tags of the run that waits": lambda w: w.launch(selector=REFUND, **lineage(w, True)),
    "a claim is forged": lambda w: w.launch(selector=REFUND, **tags(claw__claim="claim_1")),
    "the spent claim is named": lambda w: w.launch(selector=REFUND, **tags(claw__claim=w.claim("S-1"))),
    "the claim of another case is named": lambda w: w.launch(**tags(claw__claim=w.claim("S-2"))),
    "the case is named": lambda w: w.launch(selector=REFUND, **tags(claw__case=w.cases["S-1"])),
    "a clearance is forged": lambda w: w.launch(selector=REFUND, **tags(claw__cleared="fin_1,lead_1")),
    "it says that it is approved": lambda w: w.launch(selector=REFUND, **tags(approved="true", by="lead_1")),
    "a run key is forged": lambda w: w.launch(selector=REFUND, **tags(dagster__run_key=w.cases["S-1"])),
    "it says that it goes on after a crash": lambda w: w.launch(
        selector=REFUND, **tags(dagster__is_resume_retry="true", dagster__retry_number="1")
    ),
    "another name is put on it": lambda w: w.launch(selector=REFUND, **tags(claw__launched_by="lead_1")),
    "the run is repeated": lambda w: w.repeat(strategy="ALL_STEPS"),
    "the run is repeated from its failure": lambda w: w.repeat(strategy="FROM_FAILURE"),
    "the run is repeated from an asset": lambda w: w.repeat(strategy="FROM_ASSET_FAILURE"),
    "the run is repeated with another claim": lambda w: w.repeat(
        strategy="ALL_STEPS", extraTags=[{"key": "claw/claim", "value": w.claim("S-2")}]
    ),
    "the run is repeated with its own tags": lambda w: w.repeat(strategy="ALL_STEPS", useParentRunTags=True),
    "the step alone is repeated": lambda w: w.again(stepKeys=["refund"], **lineage(w)),
    "what follows the step is repeated": lambda w: w.again(
        stepKeys=["tell_customer", "close"], **lineage(w, True)
    ),
    "by a repetition of old": lambda w: w.again(mutation=OLD_REPEAT, stepKeys=["refund"], **lineage(w)),
    "a backfill": backfill(),
    "a backfill of the step": backfill(reexecutionSteps=["refund"], forceSynchronousSubmission=True),
    "a backfill from failure": backfill(fromFailure=True, tags=[{"key": "claw/claim", "value": "x"}]),
    "a mutation by a link": by_link,
    "a mutation in a batch": by_batch,
    "a mutation on a line": by_line,
    "a launch by who only looks": said("viewer_1", LAUNCH, 403),
    "a launch by who only answers": said("fin_1", LAUNCH, 403),
    "a launch by an auditor": said("auditor_1", LAUNCH, 403),
    "a launch behind a query": said(
        "fin_1", "query A { version } " + LAUNCH.replace("mutation", "mutation B"), 403
    ),
    "a launch under another name": said("fin_1", LAUNCH.replace("launchRun(", "version: launchRun("), 403),
    "a tick is tried out by who only looks": looked("viewer_1", TRIED),
    "a tick is tried out by who administers": looked("head_1", TRIED),
    "a sensor is tried out": looked("agent_1", SENSED),
    "a tick is tried out by a mutation": said("head_1", DRY, 403),
    "the run is deleted": said("agent_1", DELETE, 403),
    "it is reported as done": lambda w: w["head_1"].post("/report_asset_materialization/refund"),
}
