"""The inbox in a real browser: two people approve a refund by mouse, by keyboard, and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .hosted import Hosted
from .ways import World, add_more, edit

pytestmark = [
    pytest.mark.xdist_group("web_browser"),
    pytest.mark.timeout(300),
    # where CI runs, a browser that is missing is a failure
    pytest.mark.skipif(
        shutil.which("chromium") is None and "CI" not in os.environ, reason="there is no chromium here"
    ),
]

#: Nothing of the browser's own goes out, and it needs no rights that a container does not have.
ALONE = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip
PHONE = {"width": 390, "height": 844}
#: The elements that stand out at the right, when the page can be scrolled there.
WIDE = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  return [...document.querySelectorAll("*")].filter(it => it.getBoundingClientRect().right > wide)
    .map(it => it.outerHTML.slice(0, 120));
}"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a host with two refunds that wait."""
    with pytest.MonkeyPatch.context() as patch:
        host = Hosted(tmp_path_factory.mktemp("browser"), patch, None)
        edit(host, add_more)
        host.restart()
        made = World(host)
        try:
            made.open("S-1")
            made.open("S-2")
            yield made
        finally:
            host.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Give a browser, started once."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ALONE)
        yield browser
        browser.close()


def visit(chromium: Browser, world: World, person: str, *, size: dict[str, int] | None = None) -> Page:
    """Log in by the login page, in a window with cookies of its own, on the way to the inbox."""
    context = chromium.new_context(viewport=size or {"width": 1200, "height": 900})  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto(f"{world.host.url}/claw/inbox")
    page.locator(f"button[value={person}]").click()
    expect(page.get_by_role("heading", name="Inbox", exact=True)).to_be_visible()
    return page


def fill_in(page: Page, note: str) -> None:
    page.get_by_label("reason").select_option("lost")
    page.get_by_label("note").fill(note)


def test_two_people_approve_and_the_case_goes_on_to_its_end(
    world: World, chromium: Browser, tmp_path: Path
) -> None:
    first, second = (visit(chromium, world, person) for person in ("fin_1", "lead_1"))
    first.get_by_role("link", name="refund of S-1").click()
    expect(first.get_by_text("erp.refund").first).to_be_visible()
    first.screenshot(path=tmp_path / "checkpoint.png", full_page=True)
    assert (tmp_path / "checkpoint.png").stat().st_size > 10_000
    fill_in(first, "The carrier says so.")
    first.get_by_role("button", name="Approve").click()
    expect(first.get_by_role("status")).to_contain_text("1 more person has to answer")
    assert world.refunds("S-1") == 0
    second.get_by_role("link", name="refund of S-1").click()
    fill_in(second, "Seen.")
    second.get_by_role("button", name="Approve").click()
    expect(second.get_by_role("status")).to_contain_text("Recorded: cleared")
    second.get_by_role("link", name="stalled_orders S-1").click()
    world.until("S-1", "completed")
    second.reload()
    expect(second.locator("h1")).to_contain_text("completed")
    expect(second.locator('.way .completed b:text-is("refund")')).to_be_visible()
    assert world.refunds("S-1") == 1


def test_who_only_looks_has_no_button(world: World, chromium: Browser) -> None:
    page = visit(chromium, world, "viewer_1")
    page.get_by_role("link", name="refund of S-2").click()
    expect(page.get_by_text("You cannot answer")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    fields: dict[str, str | float | bool] = {"form": page.locator("input[name=form]").first.input_value()}
    fields |= {"digest": world.case("S-2").facts.gates["refund"].digest, "verdict": "approve"}
    fields |= {"f_reason": "lost", "f_note": "All the same."}
    sent = page.request.post(
        f"{world.host.url}{world.page('S-2')}/answer", form=fields, headers={"Origin": world.host.url}
    )
    assert sent.status == 403
    assert "viewer_1 is neither" in sent.text()


def test_dagsters_own_pages_lead_to_the_inbox_with_its_count(world: World, chromium: Browser) -> None:
    page = visit(chromium, world, "fin_2")
    page.goto(f"{world.host.url}/")
    link = page.locator("#claw-inbox")
    waiting = len(world.host.shop.ledger.checkpoints(waiting=True))
    expect(link).to_have_text(f"Inbox {waiting}")
    link.click()
    expect(page.get_by_role("heading", name="Inbox", exact=True)).to_be_visible()


def test_a_phone_shows_it_without_scrolling_sideways(world: World, chromium: Browser) -> None:
    page = visit(chromium, world, "fin_2", size=PHONE)
    for path in ("/claw/inbox", world.page("S-2"), f"/claw/cases/{world.cases['S-2']}", "/claw/holds"):
        page.goto(world.host.url + path)
        assert page.evaluate(WIDE) == [], path
    page.goto(world.host.url + world.page("S-2"))
    box = page.get_by_role("button", name="Approve").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert box["height"] >= 36, "a finger finds it"


def test_the_keyboard_alone_is_enough(world: World, chromium: Browser) -> None:
    """The first field has the focus; Tab leads on to the button, and Enter presses it."""
    page = visit(chromium, world, "fin_2")
    link = page.get_by_role("link", name="refund of S-2")
    for _ in range(30):
        page.keyboard.press("Tab")
        if link.evaluate("it => it === document.activeElement"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{world.page('S-2')}")
    expect(page.locator("#f_reason")).to_be_focused()
    page.keyboard.type("lost")
    page.keyboard.press("Tab")
    page.keyboard.type("By keyboard.")
    page.keyboard.press("Tab")  # why it is denied: left empty
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("1 more person has to answer")
    (answered,) = world.case("S-2").facts.gates["refund"].answers
    assert (answered["person"], answered["form"]["note"]) == ("fin_2", "By keyboard.")
