"""The inbox as a browser without scripts has it: what waits for whom, what is shown, and what is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from starlette.responses import HTMLResponse

from openclaw_dagster.clock import HOUR, VirtualClock
from openclaw_dagster.runtime.operations import NoCase
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.web.badge import with_badge
from openclaw_dagster.web.blotter import Blotter
from openclaw_dagster.web.limits import Rate
from openclaw_dagster.web.waiting import waiting_for

from .hosted import Hosted
from .ways import World, add_more, edit

pytestmark = [pytest.mark.xdist_group("web_inbox"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a host with two refunds that wait, and a booking that may be left out."""
    with pytest.MonkeyPatch.context() as patch:
        host = Hosted(tmp_path_factory.mktemp("inbox"), patch, None)
        edit(host, add_more)
        host.restart()
        made = World(host)
        try:
            made.open("S-1")
            made.open("S-2", "lost_reported_by_lead")
            made.open("S-3", "carrier_down")
            yield made
        finally:
            host.close()


def counted(world: World, person: str) -> tuple[int, int]:
    said = world[person].get("/claw/inbox.json", Accept="application/json").json
    assert said["more"] is False
    return said["mine"], said["waiting"]


def test_what_waits_for_whom(world: World) -> None:
    """Nothing waits for whom it was asked by, or for somebody of another team."""
    assert [counted(world, person) for person in ("fin_1", "lead_1", "agent_1", "agent_2", "viewer_1")] == [
        (2, 3), (1, 3), (0, 3), (1, 3), (0, 3),
    ]  # fmt: skip
    page = world["lead_1"].get("/claw/inbox").text
    mine, others = page.split("Waiting for others")
    assert "refund</b> of S-1" in mine
    assert "refund</b> of S-2" in others
    assert "<title>Inbox (1)" in page


def test_every_page_says_who_is_there_and_how_much_waits(world: World) -> None:
    for path in (
        "/claw",
        "/claw/inbox",
        "/claw/dead-letters",
        "/claw/holds",
        world.page(),
        "/claw/cases/none",
    ):
        page = world["fin_1"].get(path).text
        assert '<b class="count">2<span' in page, path
        assert "Finance, first" in page, path
        assert re.search(
            r'action="/claw/logout"><input type="hidden" name="form" value="[0-9a-f]{64}"', page
        ), path
    assert 'class="count"' not in world["viewer_1"].get("/claw").text
    assert 'class="count"' not in world["fin_1"].get("/claw/login").text


def test_a_checkpoint_shows_all_it_takes_to_decide(world: World) -> None:
    page = world["fin_1"].get(world.page()).text
    for words in (
        "erp.refund", "<b>480</b>", "finance or ops_lead", "Finance, second", "Operations lead", "0 of 2",
        "then others are asked too", "Requested by", "agent_1", '<option>lost</option>', 'maxlength="400"',
        "runbook", "&#34;cause&#34;: &#34;lost&#34;", "checkpoint.asked", "Approve</button>", "Deny</button>",
    ):  # fmt: skip
        assert words in page, words


@pytest.mark.parametrize(
    ("person", "name", "why"),
    [
        ("viewer_1", "S-1", "and viewer_1 is neither"),
        ("stock_1", "S-1", "which stock_1 is not|stock_1 is neither"),
        ("lead_1", "S-2", "nobody clears what they asked for themselves"),
    ],
)
def test_who_may_not_answer_sees_why_and_no_button(world: World, person: str, name: str, why: str) -> None:
    page = world[person].get(world.page(name)).text
    assert re.search(f"You cannot answer: .*({why})", page), page
    assert 'name="verdict"' not in page


def test_who_has_the_role_may_answer_whatever_their_level(world: World) -> None:
    """As in Slack, where nobody has a level."""
    assert 'name="verdict" value="approve"' in world["gone_1"].get(world.page()).text


def test_nobody_is_told_that_something_was_recorded_who_said_nothing(world: World) -> None:
    assert 'role="status"' not in world["fin_2"].get(f"{world.page()}?recorded").text


def test_an_answer_is_shown_to_whoever_gave_it_and_waits_for_them_no_more(world: World) -> None:
    answer = world.say("fin_1", "S-2", f_note="<b>seen</b>")
    assert (answer.status, answer.header("location")) == (303, f"{world.page('S-2')}?recorded")
    page = world["fin_1"].get(answer.header("location")).text
    assert "Recorded. 1 more person has to answer." in page
    assert "You cannot answer: fin_1 has answered already" in page
    assert "&lt;b&gt;seen&lt;/b&gt;" in page
    assert counted(world, "fin_1") == (1, 3)
    assert counted(world, "fin_2") == (2, 3)
    assert 'role="status"' not in world["fin_2"].get(f"{world.page('S-2')}?recorded").text


def test_a_program_answers_for_its_person(world: World) -> None:
    """What a browser posts as a form, a program posts with a token, and is answered in JSON."""
    headers = {**world.token("fin_2", "approver"), "Content-Type": "application/x-www-form-urlencoded"}
    digest = world.case("S-2").facts.gates["refund"].digest
    path = f"{world.page('S-2')}/answer"
    body = f"digest={digest}&verdict=deny&reason=no+receipt".encode()
    said = world.host.browser().send("POST", path, body, {**headers, "Accept": "application/json"})
    assert (said.status, said.json) == (200, {"ok": True, "said": "Recorded: denied."})
    case = world.until("S-2", "handed_off")
    assert case.facts.gates["refund"].answers[-1]["channel"] == "api"
    again = world.host.browser().send("POST", path, body, {**headers, "Accept": "application/json"})
    assert (again.status, again.json["ok"]) == (403, False)
    page = world["fin_1"].get("/claw/inbox").text.split("Answered last")[1]
    assert "refund of S-2" in page
    assert "denied" in page


def test_a_step_is_left_out_by_whom_its_policy_names(world: World) -> None:
    path = world.page("S-3", "rebook")
    assert "Leave rebook out under carrier_outage" in world["lead_1"].get(path).text
    assert "Leave rebook out" not in world["agent_2"].get(path).text
    assert world.say("agent_2", "S-3", "skip", "rebook", reason="they are down").status == 403
    assert world.say("lead_1", "S-3", "skip", "rebook", reason="").status == 403
    answer = world.say("lead_1", "S-3", "skip", "rebook", reason="they are down until Wednesday")
    assert answer.status == 303
    assert "Recorded: rebook is left out." in world["lead_1"].get(answer.header("location")).text
    assert world.until("S-3", "completed").facts.steps["rebook"].state == "skipped"


def test_the_address_of_a_form_leads_to_its_page(world: World) -> None:
    answer = world["fin_1"].get(f"{world.page()}/answer?verdict=approve")
    assert (answer.status, answer.header("location")) == (303, world.page())


def test_a_hold_stands_on_the_inbox_until_it_is_released(world: World) -> None:
    def change(person: str, **said: str) -> int:
        return world[person].form("/claw/holds/change", "/claw/holds", **said).status

    assert change("lead_1", scope="erp.refund", reason="month end", do="hold") == 303
    assert "month end (lead_1)" in world["fin_1"].get("/claw/inbox").text
    assert "takes the level operator" in world["fin_1"].get("/claw/holds").text
    assert change("fin_1", scope="erp.refund", reason="now", do="release") == 403
    assert change("lead_1", scope="nothing.here", reason="why", do="hold") == 422
    assert change("lead_1", scope="erp.refund", reason=" ", do="release") == 422
    assert change("lead_1", scope="erp.refund", reason="the books are closed", do="release") == 303
    assert "month end" not in world["fin_1"].get("/claw/inbox").text


@pytest.mark.parametrize(
    "path",
    [
        "/claw/cases/%00",
        "/claw/cases/a%00b",
        "/claw/checkpoints/%00/refund",
        "/claw?system=a%00",
        "/runs/%00",
    ],
)
def test_an_address_with_a_nul_is_none(world: World, path: str) -> None:
    """Postgres takes no such text; nor do we, whatever the database."""
    assert world["fin_1"].get(path).status == 400


def test_a_form_with_a_nul_is_not_taken(world: World) -> None:
    assert (
        world["lead_1"].form("/claw/holds/change", scope="dispatch", reason="a\x00b", do="hold").status == 403
    )
    assert world.say("fin_1", verdict="deny", reason="n\x00o").status == 403


def test_a_form_that_finds_the_ledger_away_is_answered_with_a_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DatabaseAway(problem="it is away")

    monkeypatch.setattr("openclaw_dagster.web.inbox.answer", away)
    answer = world.say("fin_1", headers={"Accept": "text/html"})
    assert (answer.status, answer.header("retry-after")) == (503, "5")
    assert "the ledger is away: try again." in answer.text
    assert "<html" in answer.text


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_an_answer_to_a_version_that_does_not_load_says_so(
    world: World, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(digest: str) -> None:
        raise NoCase(case_id=digest)

    monkeypatch.setattr(world.host.shop, "version", refuse)
    answer = world.say("fin_1", verdict=verdict)
    assert answer.status in (403, 422)
    assert "Not recorded: There is no case" in answer.text or "Not counted" in answer.text


def test_dagsters_page_has_our_script_and_is_otherwise_as_it_was(world: World) -> None:
    answer = world["fin_1"].get("/runs")
    nonce = re.findall(r"'nonce-([0-9a-f]+)'", answer.header("content-security-policy"))[0]
    script = f'<script src="/claw/badge.js" nonce="{nonce}" defer></script>'
    assert answer.text.count(script) == 1
    assert int(answer.header("content-length")) == len(answer.text.encode())
    given = world.host.browser().get("/claw/badge.js")
    assert (given.status, given.header("content-type")) == (200, "text/javascript; charset=utf-8")


def test_the_op_at_which_a_run_rests_links_to_the_page_of_its_request(world: World) -> None:
    query = """query($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection { events {
      ... on ExecutionStepOutputEvent { stepKey metadataEntries { ... on UrlMetadataEntry { url } } } } } } } }"""
    found = world["agent_1"].graphql(query, {"id": world.parked()}).json["data"]["runOrError"]
    links = {
        (event["stepKey"], entry["url"])
        for event in found["eventConnection"]["events"]
        for entry in event.get("metadataEntries", ())
        if "url" in entry
    }
    assert ("refund", f"{world.host.url}{world.page()}") in links


def test_a_page_that_is_not_as_we_know_it_is_left_alone() -> None:
    for policy, text in (("script-src 'nonce-abc'", "<html>"), ("script-src 'self'", "<head></head>")):
        page = HTMLResponse(text, headers={"Content-Security-Policy": policy})
        assert bytes(with_badge(page).body) == text.encode()


def test_the_oldest_are_shown_where_more_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openclaw_dagster.web.waiting.MOST", 0)
    found = waiting_for(world.host.shop, None)
    assert (found.mine, found.others, found.more) == ((), (), True)
    assert world["fin_1"].get("/claw/inbox.json", Accept="application/json").json["more"] is True
    assert "These are the oldest 0" in world["fin_1"].get("/claw/inbox").text


def test_a_flood_of_refusals_is_cut_and_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    written: list[tuple[str, str, str]] = []

    def note(_shop: object, what: str, why: str, *, person: str, about: dict[str, str]) -> None:
        written.append((what, person, about.get("left_out_before", "")))

    clock = VirtualClock(1_790_000_000_000)
    monkeypatch.setattr("openclaw_dagster.web.blotter.note", note)
    shop = world.host.shop
    monkeypatch.setattr(shop, "clock", clock)
    blotter = Blotter(shop, each=Rate(burst=3, refill=HOUR), every=Rate(burst=5, refill=HOUR))

    async def flood() -> None:
        for number in range(50):
            await blotter.enter("POST /x", "no", address=f"10.0.0.{number % 5}")
        for _ in range(10):
            await blotter.enter("POST /y", "no", person="fin_1")

    asyncio.run(flood())
    assert [what for what, _, _ in written] == ["POST /x"] * 5 + ["POST /y"] * 3
    assert written[5] == ("POST /y", "fin_1", "45")
    clock.advance(HOUR)
    asyncio.run(blotter.enter("POST /x", "no", address="10.0.0.1"))
    assert written[-1] == ("POST /x", "", "7")


def test_the_count_is_plain_json(world: World) -> None:
    answer = world["fin_1"].get("/claw/inbox.json", Accept="application/json")
    assert set(json.loads(answer.text)) == {"mine", "waiting", "more"}
    assert answer.header("cache-control") == "no-store"
