"""Ways around a refund that waits which answer for it: as somebody else, to something else, from somewhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from slack_sdk.signature import SignatureVerifier

from openclaw_dagster.adapters.slack_blocks import PREFIX

from .hosted import Browser
from .ways import FORM, World

Way = Callable[[World], object]

SIGNING = "0123456789abcdef0123456789abcdef"
TEAM = "T0OURS"
MEMBERS = {"fin_1": "U0FIN1", "lead_1": "U0LEAD1", "stock_1": "U0STOCK1"}
#: Refused, or refused where there is no request to show.
REFUSED = (403, 404)


def add_slack(environment: dict[str, Any]) -> None:
    """Let people answer in Slack, of which no more than its signature is needed here."""
    names = {"token": "WAYS_SLACK_TOKEN", "signing_secret": "WAYS_SLACK_SIGNING"}
    environment["channels"] = {"slack": {**names, "team": TEAM, "url": "http://127.0.0.1:9"}}
    for person, member in MEMBERS.items():
        environment["people"][person]["slack"] = member


def digest(world: World, name: str) -> str:
    return world.case(name).facts.gates["refund"].digest


def says(person: str, name: str = "S-1", what: str = "answer", step: str = "refund", **more: str) -> Way:
    """Return a way that fills in the form of a checkpoint and is refused."""

    def way(world: World) -> None:
        assert world.say(person, name, what, step, **more).status in REFUSED

    return way


def without(person: str, *names: str) -> Way:
    def way(world: World) -> None:
        fields = world.fields(person)
        for name in names:
            del fields[name]
        assert posted(world, world[person], fields) == 403

    return way


def posted(
    world: World, browser: Browser, fields: Mapping[str, str] | bytes, path: str = "", **headers: str
) -> int:
    """Post fields as a browser does; return the status."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    said = {"Content-Type": FORM, **headers}
    return browser.post(path or f"{world.page()}/answer", body, **said).status


def of_another(world: World) -> None:
    """Say in the body that it is about this case, at the address of another."""
    fields = world.fields("fin_1") | {"case_id": world.cases["S-1"], "step": "refund"}
    assert posted(world, world["fin_1"], fields, f"{world.page('S-2')}/answer") == 403


def of_another_step(world: World) -> None:
    fields = world.fields("fin_1") | {"step": "refund"}
    assert posted(world, world["fin_1"], fields, f"{world.page(step='write_credit')}/answer") in REFUSED


def of_no_case(world: World) -> None:
    assert (
        posted(world, world["fin_1"], world.fields("fin_1"), "/claw/checkpoints/none/refund/answer")
        in REFUSED
    )


def twice(world: World) -> None:
    if world.case("S-2").facts.gates["refund"].missing == 2:
        assert world.say("fin_1", "S-2").status == 303
    assert world.say("fin_1", "S-2", f_note="Again.", reason="again").status == 403


def twice_in_a_form(world: World) -> None:
    body = urlencode(world.fields("fin_1")) + "&verdict=deny"
    assert posted(world, world["fin_1"], body.encode()) == 403


def as_gone(world: World) -> None:
    """Somebody who has left since, with the session and the form of before."""
    assert posted(world, world["gone_1"], world.fields("fin_1")) == 401


def with_the_form_of(person: str) -> Way:
    def way(world: World) -> None:
        fields = world.fields("fin_1") | {"form": world.fields(person)["form"]}
        assert posted(world, world["fin_1"], fields) == 403

    return way


def after_a_logout(world: World) -> None:
    browser = world.host.browser().log_in("fin_1")
    fields, cookies = world.fields("fin_1"), dict(browser.cookies)
    assert browser.form("/claw/logout").status == 303
    browser.cookies = cookies
    assert posted(world, browser, fields) == 401


def from_elsewhere(status: int = 403, *, gone: str = "", **headers: str) -> Way:
    """Return a way that is good in all but where it comes from."""

    def way(world: World) -> None:
        said = {"Host": f"127.0.0.1:{world.host.port}", "Origin": world.host.url, "Content-Type": FORM}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        said = {name: value for name, value in said.items() if name != gone}
        body = urlencode(world.fields("fin_1")).encode()
        assert world["fin_1"].send("POST", f"{world.page()}/answer", body, said).status == status

    return way


def as_kind(kind: str, body: bytes = b"") -> Way:
    def way(world: World) -> None:
        fields = world.fields("fin_1")
        text = body or (json.dumps(fields).encode() if "json" in kind else urlencode(fields).encode())
        assert posted(world, world["fin_1"], text, **{"Content-Type": kind}) == 403

    return way


def by_method(method: str, end: str = "/answer") -> Way:
    """Return a way that sends the form by another method, or to another address."""

    def way(world: World) -> None:
        said = {"Origin": world.host.url, "Content-Type": FORM, "X-HTTP-Method-Override": "POST"}
        body = urlencode(world.fields("fin_1")).encode()
        assert world["fin_1"].send(method, f"{world.page()}{end}", body, said).status == 405

    return way


def by_token(person: str, *levels: str, ends: str = "", status: int = 403, **more: str) -> Way:
    """Return a way by which a program answers with a token, which may be one that has ended."""

    def way(world: World) -> None:
        said = dict(world.tokens[person]) if person in world.tokens else world.token(person, *levels)
        if ends == "expired":
            said = world.token(person, *levels, lasts=-1)
        if ends == "revoked":
            text, token = world.host.tokens.make(
                "token", person, lasts=60_000, by="test", claims={"levels": levels}
            )
            world.host.tokens.revoke(token.id)
            said = {"Authorization": f"Bearer {text}"}
        assert posted(world, world.host.browser(), world.fields("fin_1", **more), **said) == status

    return way


def in_the_address(world: World) -> None:
    text = world.token("fin_1", "approver")["Authorization"].partition(" ")[2]
    path = f"{world.page()}/answer?access_token={text}"
    assert posted(world, world.host.browser(), world.fields("fin_1"), path) == 401


def clicks(
    member: str, *, secret: str = SIGNING, age: int = 0, team: str = TEAM, status: int = 200, name: str = "S-1",
    unsigned: bool = False, **changed: Any,
) -> Way:  # fmt: skip
    """Return a way that presses the button in Slack, or seems to."""

    def way(world: World) -> None:
        shown = digest(world, name)
        about = {"case": world.cases[name], "step": "refund", "request": 1, "digest": shown, **changed}
        button = {"action_id": f"{PREFIX}approve", "value": json.dumps(about)}
        payload = {
            "type": "block_actions", "team": {"id": team}, "user": {"id": member, "team_id": team},
            "channel": {"id": "C0"}, "trigger_id": "1.2.a", "actions": [button],
        }  # fmt: skip
        body = urlencode({"payload": json.dumps(payload)}).encode()
        stamp = str(world.host.clock.now() // 1000 - age)
        signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
        said = {"Content-Type": FORM, "X-Slack-Request-Timestamp": stamp}
        said |= {} if unsigned else {"X-Slack-Signature": str(signature)}
        answer = world.host.browser().send("POST", "/claw/slack/interactivity", body, said)
        assert answer.status == status, answer.text

    return way


#: What is tried → how. Each is refused, and leaves one line where an auditor finds it.
WAYS: dict[str, Way] = {
    "who asked for it approves": says("lead_1", "S-2"),
    "who reported it approves": says("agent_1"),
    "somebody of another team approves": says("stock_1"),
    "who only looks approves": says("viewer_1"),
    "an operator approves": says("stock_agent_1"),
    "an admin approves": says("head_1"),
    "an auditor approves": says("auditor_1"),
    "nobody approves": lambda w: posted(w, w.host.browser(), w.fields("fin_1")),
    "somebody who has left approves": as_gone,
    "the same person approves twice": twice,
    "what was shown is altered": says("fin_1", digest="0" * 64),
    "what was shown is left out": says("fin_1", digest=""),
    "what was shown is of another case": lambda w: says("fin_1", digest=digest(w, "S-2"))(w),
    "the address is of another case": of_another,
    "the address is of another step": of_another_step,
    "the address is of no case": of_no_case,
    "another team's request is answered": says("fin_1", "S-3", step="rebook", verdict="acknowledge"),
    "the verdict is a skip": says("fin_1", verdict="skip"),
    "the verdict is padded": says("fin_1", verdict="Approve "),
    "the verdict is a lesser one": says("fin_1", verdict="acknowledge"),
    "the verdict is left out": without("fin_1", "verdict"),
    "there are two verdicts": twice_in_a_form,
    "the form is not filled in": without("fin_1", "f_reason", "f_note"),
    "the form has another choice": says("fin_1", f_reason="generosity"),
    "the form has a field more": says("fin_1", f_quorum="1"),
    "the form has too long a note": says("fin_1", f_note="x" * 401),
    "a denial says nothing": says("fin_1", verdict="deny", reason=" "),
    "it is left out without a policy": says("lead_1", what="skip", reason="there is no time"),
    "it is left out under another policy": says(
        "lead_1", what="skip", reason="the carrier is down", policy="carrier_outage"
    ),
    "a step of another branch is left out": says("lead_1", what="skip", step="rebook", reason="it is down"),
    "another case's step is left out by the wrong one": says(
        "fin_1", "S-3", "skip", "rebook", reason="it is down"
    ),
    "a hold is released by who may not": lambda w: posted(
        w, w["fin_1"], w.fields("fin_1") | {"scope": "erp.refund", "do": "release"}, "/claw/holds/change"
    ),
    "from another origin": from_elsewhere(Origin="https://evil.example"),
    "from a frame without origin": from_elsewhere(Origin="null"),
    "without an origin": from_elsewhere(gone="Origin"),
    "from another site": from_elsewhere(Sec_Fetch_Site="cross-site"),
    "under another name": from_elsewhere(421, Host="evil.example"),
    "without the token of the form": without("fin_1", "form"),
    "with the token of somebody else's form": with_the_form_of("lead_1"),
    "after a logout": after_a_logout,
    "as plain text": as_kind("text/plain"),
    "as JSON": as_kind("application/json"),
    "as a form of parts": as_kind("multipart/form-data; boundary=x", b"--x--"),
    "as too long a form": as_kind(FORM, b"form=" + b"x" * 70_000),
    "by PUT": by_method("PUT"),
    "by PATCH": by_method("PATCH"),
    "by DELETE": by_method("DELETE"),
    "to the page itself": by_method("POST", ""),
    "to the address with a slash more": by_method("POST", "/answer/"),
    "by a token made for less": by_token("fin_1", "operator"),
    "by a token made for nothing": by_token("fin_1"),
    "by a token that has ended": by_token("fin_1", "approver", ends="expired", status=401),
    "by a token that was taken back": by_token("fin_1", "approver", ends="revoked", status=401),
    "by the token of who has left": by_token("gone_1", status=401),
    "by the token of another team": by_token("stock_1", "approver"),
    "by a token in the address": in_the_address,
    "left out by a token": lambda w: posted(
        w, w.host.browser(), {"reason": "late"}, f"{w.page()}/skip", **w.token("lead_1", "approver")
    ),
    "by a token for what was not shown": by_token("fin_1", "approver", digest="0" * 64),
    "a click that nobody signed": clicks("U0FIN1", unsigned=True, status=401),
    "a click signed by somebody else": clicks("U0FIN1", secret="f" * 32, status=401),
    "a click of ten minutes ago": clicks("U0FIN1", age=600, status=401),
    "a click of ten minutes ahead": clicks("U0FIN1", age=-600, status=401),
    "a click in another workspace": clicks("U0FIN1", team="T0FOREIGN"),
    "a click of a stranger": clicks("U0STRANGER"),
    "a click of another team": clicks("U0STOCK1"),
    "a click of who asked for it": clicks("U0LEAD1", name="S-2"),
    "a click on an altered button": clicks("U0FIN1", digest="0" * 64),
    "a click on a later request": clicks("U0FIN1", request=2),
    "a click on another step": clicks("U0FIN1", step="write_credit"),
}
