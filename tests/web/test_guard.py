"""What stands before everything: every address of the host and what it takes, and where requests come from."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator

import pytest
from starlette.routing import Mount, Route, WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from openclaw_dagster.clock import DAY
from openclaw_dagster.web.surface import ROUTES, is_known

from .hosted import REPOSITORY, Answer, Browser, Hosted

pytestmark = pytest.mark.xdist_group("web_host")

LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId tags { key value } } } ... on PythonError { message } } }"""
REPEAT = """mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) { __typename
  ... on LaunchRunSuccess { run { runId tags { key value } } } ... on PythonError { message } } }"""
DELETE = 'mutation { deleteRun(runId: "00000000-0000-0000-0000-000000000000") { __typename } }'
RELOAD = "mutation { reloadWorkspace { __typename } }"
SELECTOR = {**REPOSITORY, "pipelineName": "dispatch"}


def launch(browser: Browser, **metadata: object) -> Answer:
    params = {"selector": SELECTOR, "mode": "default", "executionMetadata": metadata}
    return browser.graphql(LAUNCH, {"p": params})


def tags_of(answer: Answer, field: str = "launchRun") -> dict[str, str]:
    assert answer.status == 200, answer.text
    said = answer.json["data"][field]
    assert said["__typename"] == "LaunchRunSuccess", said
    return {one["key"]: one["value"] for one in said["run"]["tags"]}


# ── every address


def test_every_route_was_looked_at(hosted: Hosted) -> None:
    """A route that Dagster adds, or we, is for admins until somebody says in `surface.py` what it takes."""
    assert [str(route) for route in hosted.app.routes if not is_known(route)] == []
    paths = {getattr(route, "path", None) for route in hosted.app.routes}
    assert [path for path in ROUTES if path not in paths] == []
    assert {type(route) for route in hosted.app.routes} == {Route, WebSocketRoute, Mount}


#: Address → who may see it. `nobody` is somebody who is logged in and has no level.
SEEN = {
    "/": "vic olga april audrey ada",
    "/runs/abc": "vic olga april audrey ada",
    "/claw": "vic olga april audrey ada",
    "/claw/cases/case_x": "vic olga april audrey ada",
    "/server_info": "vic olga april audrey ada",
    "/favicon.svg": "vic olga april audrey ada",
    "/vendor/graphiql/graphiql.min.css": "vic olga april audrey ada",
    "/graphql?query={version}": "vic olga april audrey ada",
    "/logs/a/b/compute_logs/c.out": "olga audrey ada",
    "/download_debug/abc": "olga audrey ada",
    "/notebook?path=a.ipynb&repoLocName=openclaw": "",
    "/dagit/notebook?path=a.ipynb&repoLocName=openclaw": "",
}


@pytest.mark.parametrize("path", SEEN)
def test_addresses_are_seen_by_whom_they_are_for(
    hosted: Hosted, people: dict[str, Browser], path: str
) -> None:
    seen = {name for name, browser in people.items() if browser.get(path, Accept="*/*").status != 403}
    assert seen == set(SEEN[path].split())
    assert hosted.browser().get(path, Accept="*/*").status == 401
    assert hosted.browser().get(path).header("location").startswith("/claw/login?next=%2F")


@pytest.mark.parametrize(
    "path",
    [
        "/report_asset_materialization/orders", "/report_asset_check/orders", "/report_asset_observation/orders",
        "/report%5Fasset_materialization/orders", "/report_asset_materialization/a/b?check_name=c",
    ],
)  # fmt: skip
def test_nobody_reports_assets(people: dict[str, Browser], path: str) -> None:
    assert {browser.post(path).status for browser in people.values()} == {403}


def test_what_orchestrators_and_senders_ask_is_open(hosted: Hosted) -> None:
    for host in (f"127.0.0.1:{hosted.port}", "claw.svc.cluster.local"):
        assert hosted.browser().get("/healthz", Host=host).status == 200
        assert hosted.browser().get("/readyz", Host=host).status == 200
        body = json.dumps({"order": {"id": f"G-{host}"}}).encode()
        headers = {"Host": host, "Content-Type": "application/json"}
        sent = hosted.browser().send("POST", "/hooks/dispatch/order_created", body, headers)
        assert sent.status == 202
        assert sent.header("x-frame-options") == "DENY"


# ── where a request comes from


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example"])
def test_another_name_is_not_answered(hosted: Hosted, people: dict[str, Browser], host: str) -> None:
    """A page of another site whose name points here would be of our origin."""
    assert people["ada"].get("/", Host=host).status == 421
    assert hosted.browser().get("/claw/login", Host=host).status == 421


def test_two_names_are_not_answered(hosted: Hosted) -> None:
    with socket.create_connection(("127.0.0.1", hosted.port), timeout=10) as line:
        line.sendall(
            f"GET /claw/login HTTP/1.1\r\nHost: 127.0.0.1:{hosted.port}\r\nHost: evil.example\r\n\r\n".encode()
        )
        assert line.recv(1000).split()[1] in (b"421", b"400")


FOREIGN = {
    "another origin": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "an old browser": {"Origin": "https://evil.example", "Sec-Fetch-Site": ""},
    "a sandbox": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
    "a sibling": {"Sec-Fetch-Site": "same-site"},
    "another scheme": {"Origin": "ftp://127.0.0.1"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
def test_other_sites_change_nothing(
    hosted: Hosted, people: dict[str, Browser], headers: dict[str, str]
) -> None:
    ada = people["ada"]
    body = json.dumps({"query": RELOAD}).encode()
    said = {"Content-Type": "application/json", **{name: value for name, value in headers.items() if value}}
    assert ada.send("POST", "/graphql", body, said).status == 403
    assert ada.send("POST", "/claw/logout", b"", said).status == 403
    assert ada.send("POST", "/graphql?query=" + RELOAD.replace(" ", "%20"), b"", said).status == 403
    assert ada.get("/server_info").status == 200


def test_a_session_without_origin_changes_nothing(people: dict[str, Browser]) -> None:
    body = json.dumps({"query": RELOAD}).encode()
    assert people["ada"].send("POST", "/graphql", body, {"Content-Type": "application/json"}).status == 403


def test_every_answer_says_that_nobody_may_frame_it(hosted: Hosted, people: dict[str, Browser]) -> None:
    for path in ("/", "/claw", "/claw/login", "/graphql", "/favicon.svg", "/notebook", "/nothing/here"):
        answer = people["vic"].get(path)
        assert "frame-ancestors 'none'" in answer.header("content-security-policy"), path
        assert answer.header("x-frame-options") == "DENY", path
        assert answer.header("x-content-type-options") == "nosniff", path


def test_a_body_without_end_is_not_read(people: dict[str, Browser]) -> None:
    assert people["ada"].graphql("{ version }", {"x": "y" * (2 * 1024 * 1024)}).status == 413


# ── GraphQL


def test_mutations_take_their_level(people: dict[str, Browser]) -> None:
    assert {name for name, one in people.items() if one.graphql(RELOAD).status == 200} == {"olga", "ada"}
    assert {name for name, one in people.items() if one.graphql(DELETE).status == 200} == {"ada"}
    assert {name for name, one in people.items() if one.graphql("{ version }").status == 200} == {
        "vic", "olga", "april", "audrey", "ada",
    }  # fmt: skip
    refused = people["vic"].graphql(RELOAD)
    assert "needs the level operator" in refused.json["errors"][0]["message"]


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_a_link_changes_nothing(people: dict[str, Browser], accept: str) -> None:
    path = "/graphql?query=" + RELOAD.replace(" ", "%20")
    assert people["ada"].get(path, Accept=accept).status == 405
    assert people["ada"].get("/graphql?query={version}", Accept=accept).status == 200


def test_a_mutation_is_found_however_it_is_sent(people: dict[str, Browser]) -> None:
    vic = people["vic"]
    query = RELOAD.replace(" ", "%20")
    assert vic.post(f"/graphql?query={query}").status == 403
    assert vic.post("/graphql", RELOAD.encode(), **{"Content-Type": "application/graphql"}).status == 403
    assert (
        vic.post(
            f"/graphql?query={query}", b'{"query": "{version}"}', **{"Content-Type": "text/plain"}
        ).status
        == 403
    )
    batch = json.dumps([{"query": "{ version }"}, {"query": RELOAD}]).encode()
    assert vic.post("/graphql", batch, **{"Content-Type": "application/json"}).status == 400
    both = json.dumps(
        {"query": f"query A {{ version }} {RELOAD.replace('mutation', 'mutation B')}", "operationName": "A"}
    )
    assert vic.post("/graphql", both.encode(), **{"Content-Type": "application/json"}).status == 403


def test_dagsters_pages_offer_what_one_may(people: dict[str, Browser]) -> None:
    query = """{ permissions { permission value } repositoriesOrError { ... on RepositoryConnection { nodes {
      sensors { sensorState { hasStartPermission } } } } } }"""
    offered = {}
    for name in ("vic", "olga", "april", "ada"):
        data = people[name].graphql(query).json["data"]
        (repository,) = data["repositoriesOrError"]["nodes"]
        starts = {one["sensorState"]["hasStartPermission"] for one in repository["sensors"]}
        offered[name] = ({one["permission"] for one in data["permissions"] if one["value"]}, starts)
    assert offered["vic"] == offered["april"] == (set(), {False})
    assert {"launch_pipeline_execution", "edit_sensor"} <= offered["olga"][0]
    assert offered["olga"][1] == {True}
    assert offered["ada"][0] - offered["olga"][0] >= {"delete_pipeline_run", "wipe_assets"}


# ── whose name is on a run


def test_a_run_says_who_launched_it(people: dict[str, Browser]) -> None:
    assert tags_of(launch(people["olga"]))["claw/launched_by"] == "olga"
    forged = launch(
        people["olga"], tags=[{"key": "claw/launched_by", "value": "ada"}, {"key": "team", "value": "x"}]
    )
    assert tags_of(forged)["claw/launched_by"] == "olga"
    assert tags_of(forged)["team"] == "x"


@pytest.mark.parametrize("key", ["claw/claim", "claw/case", "claw/system", "claw/"])
def test_tags_of_the_host_are_not_forged(people: dict[str, Browser], key: str) -> None:
    refused = launch(people["ada"], tags=[{"key": key, "value": "made up"}])
    assert refused.status == 403
    assert f"The tag {key} is set by the host" in refused.json["error"]
    literal = LAUNCH.replace("($p: ExecutionParams!)", "").replace(
        "$p", '{selector: {repositoryName: "__repository__", repositoryLocationName: "openclaw", pipelineName: "dispatch"}, '
        f'mode: "default", executionMetadata: {{tags: [{{key: "{key}", value: "made up"}}]}}}}')  # fmt: skip
    assert people["ada"].graphql(literal).status == 403


def test_a_repeated_run_says_who_repeated_it(people: dict[str, Browser]) -> None:
    first = launch(people["olga"]).json["data"]["launchRun"]["run"]["runId"]
    params = {"parentRunId": first, "strategy": "ALL_STEPS"}
    again = tags_of(people["ada"].graphql(REPEAT, {"p": params}), "launchRunReexecution")
    assert (again["claw/launched_by"], again["claw/system"]) == ("ada", "dispatch")
    params["extraTags"] = [{"key": "claw/claim", "value": "made up"}]  # type: ignore[assignment]
    assert people["ada"].graphql(REPEAT, {"p": params}).status == 403
    # the page sends the tags of the first run along, and those are the host's own
    known = [{"key": "claw/system", "value": "dispatch"}, {"key": "claw/launched_by", "value": "olga"}]
    sent = launch(people["ada"], parentRunId=first, rootRunId=first, tags=known)
    assert tags_of(sent)["claw/launched_by"] == "ada"


def test_several_launches_at_once_are_looked_at_one_by_one(people: dict[str, Browser]) -> None:
    query = """mutation($p: [ExecutionParams!]!) { launchMultipleRuns(executionParamsList: $p) {
      ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename
        ... on LaunchRunSuccess { run { tags { key value } } } } } } }"""
    good = {"selector": SELECTOR, "mode": "default"}
    bad = {**good, "executionMetadata": {"tags": [{"key": "claw/claim", "value": "made up"}]}}
    assert people["olga"].graphql(query, {"p": [good, bad]}).status == 403
    (one,) = (
        people["olga"]
        .graphql(query, {"p": [good]})
        .json["data"]["launchMultipleRuns"]["launchMultipleRunsResult"]
    )
    assert {"key": "claw/launched_by", "value": "olga"} in one["run"]["tags"]


# ── websockets


def line_to(hosted: Hosted, browser: Browser, **headers: str) -> ClientConnection:
    said = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items()), **headers}
    return connect(
        f"ws://127.0.0.1:{hosted.port}/graphql", subprotocols=["graphql-ws"], additional_headers=said,  # type: ignore[list-item]
        origin=said.pop("Origin", hosted.url), open_timeout=10,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_websocket_needs_a_login_and_our_own_page(hosted: Hosted, people: dict[str, Browser]) -> None:
    for browser, headers in (
        (hosted.browser(), {}),
        (people["nemo"], {}),
        (people["ada"], {"Origin": "https://evil.example"}),
        (people["ada"], {"Host": "evil.example"}),
        (people["ada"], {"Sec-Fetch-Site": "cross-site"}),
    ):
        with pytest.raises(InvalidStatus) as refused, line_to(hosted, browser, **headers):
            pass
        assert refused.value.response.status_code == 403
    with socket.create_connection(("127.0.0.1", hosted.port), timeout=10) as line:  # no Origin at all
        cookies = "; ".join(f"{name}={value}" for name, value in people["ada"].cookies.items())
        key = base64.b64encode(os.urandom(16)).decode()
        line.sendall(
            f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{hosted.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nCookie: {cookies}\r\n\r\n".encode()
        )
        assert line.recv(1000).split()[1] == b"403"


@pytest.fixture
def line(hosted: Hosted) -> Iterator[tuple[Browser, ClientConnection]]:
    browser = hosted.browser().log_in("vic")
    with line_to(hosted, browser) as connection:
        connection.send('{"type": "connection_init"}')
        assert json.loads(connection.recv(10))["type"] == "connection_ack"
        yield browser, connection


def start(connection: ClientConnection, query: str, name: str) -> dict[str, object]:
    connection.send(json.dumps({"type": "start", "id": name, "payload": {"query": query, "variables": {}}}))
    found: dict[str, object] = json.loads(connection.recv(10))
    return found


def test_a_websocket_carries_no_mutation(line: tuple[Browser, ClientConnection]) -> None:
    refused = start(line[1], RELOAD, "1")
    assert refused["type"] == "error"
    assert "needs the level operator" in str(refused["payload"])


def test_a_websocket_ends_with_its_login(hosted: Hosted, line: tuple[Browser, ClientConnection]) -> None:
    browser, connection = line
    assert browser.form("/claw/logout").status == 303
    with pytest.raises(ConnectionClosed):
        start(connection, "subscription { locationStateChangeEvents { event { message } } }", "1")


def test_an_api_token_may_what_it_says(hosted: Hosted, people: dict[str, Browser]) -> None:
    text, token = hosted.tokens.make("token", "ada", lasts=DAY, by="test", claims={"levels": ["operator"]})
    program = hosted.browser()
    bearer = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
    body = json.dumps({"query": RELOAD}).encode()
    assert program.send("POST", "/graphql", body, bearer).status == 200
    assert program.send("POST", "/graphql", json.dumps({"query": DELETE}).encode(), bearer).status == 403
    # a token is the whole word of who sends it: no session fills in for a wrong one
    wrong = {**bearer, "Authorization": "Bearer claw_wrong"}
    assert people["ada"].send("POST", "/graphql", body, {**wrong, "Origin": hosted.url}).status == 401
    assert hosted.tokens.revoke(token.id) is not None
    hosted.clock.advance(2_001)
    assert program.send("POST", "/graphql", body, bearer).status == 401
