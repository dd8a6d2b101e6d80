"""Mail: a text and a link, once per request; opening the link decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.client import HTTPConnection
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from runtime.kit import case, kinds
from services.emulate import free_port

from .clicks import served
from .conftest import Open
from .test_slack import say
from .workspace import Office

HOUR = 3_600_000
PASSWORD = "not-a-real-password"


class Mailbox:
    """A mail server that keeps what it takes; `answers` are what it says instead of taking, once each."""

    def __init__(self, *, login: bool = False) -> None:
        self.mails: list[Any] = []
        self.answers: list[str] = []
        self.logins: list[Any] = []
        self.controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), auth_required=login, auth_require_tls=False,
            authenticator=self._login if login else None,
        )  # fmt: skip
        self.controller.start()
        assert self.controller.server is not None
        self.port = self.controller.server.sockets[0].getsockname()[1]

    def _login(self, *given: Any) -> AuthResult:
        self.logins.append(given[-1])
        return AuthResult(success=given[-1].password == PASSWORD.encode())

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer.startswith(("250", "drop")):
            assert isinstance(envelope.content, bytes)
            self.mails.append(message_from_bytes(envelope.content, policy=default))
        if answer == "drop":  # it was taken, and the line breaks before the answer
            _server.transport.abort()
        return answer

    def close(self) -> None:
        self.controller.stop()


pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.close()


def mailing(offices: Open, database: str, port: int, more: str = "") -> Office:
    office = offices(database, None)
    text = office.file.read_text().replace("slack://finance", "email://finance@example.org")
    office.file.write_text(
        text
        + f"channels: {{email: {{host: 127.0.0.1, port: {port}, from: claw@example.org, tls: none{more}}}}}\n"
    )
    office.shop = office.open()
    return office


def text_of(mail: Message) -> str:
    return str(mail.get_content()).replace("\r\n", "\n")  # type: ignore[attr-defined]


def test_a_mail_says_what_waits_and_leads_to_its_page(
    offices: Open, database_url: str, mailbox: Mailbox
) -> None:
    office = mailing(offices, database_url, mailbox.port)
    one = office.refund()
    office.tell("email")
    (mail,) = mailbox.mails
    said = text_of(mail)
    assert (mail["To"], mail["From"]) == ("finance@example.org", "claw@example.org")
    assert mail["Subject"] == "Approval wanted: refund · dispatch · A-1"
    assert mail.get_content_type() == "text/plain"
    assert '"amount": 80' in said
    assert f"/claw/checkpoints/{one}/refund\n" in said
    say(office, one, "fin_1")
    say(office, one, "lead_1")
    office.tell("email", until=HOUR)
    assert len(mailbox.mails) == 1, "what was answered is seen on the page"
    office.tell("slack")
    states = {notice.place: notice.state for notice in office.outbox.of_case(one)}
    assert states == {"email://finance@example.org": "shown", "slack://leads": "nowhere"}


def test_twenty_scanners_open_the_link_and_decide_nothing(
    offices: Open, database_url: str, mailbox: Mailbox
) -> None:
    office = mailing(offices, database_url, mailbox.port)
    one = office.refund()
    office.tell("email")
    (link,) = re.findall(r"https?://\S+", text_of(mailbox.mails[0]))
    path = "/" + link.split("/", 3)[3]
    before = (case(office.shop, one), kinds(office.shop, one))
    with served(office, None) as hand:  # type: ignore[arg-type]
        for number in range(20):
            line = HTTPConnection("127.0.0.1", hand.port, timeout=10)
            line.request("HEAD" if number % 4 == 3 else "GET", path)
            line.getresponse().read()
            line.close()
    assert (case(office.shop, one), kinds(office.shop, one)) == before


def test_a_reminder_is_a_mail_of_the_same_thread(offices: Open, database_url: str, mailbox: Mailbox) -> None:
    office = mailing(offices, database_url, mailbox.port)
    one = office.refund()
    office.tell("email")
    from runtime.kit import drain

    drain(office.shop, until=lambda: case(office.shop, one).facts.gates["refund"].reminded == 1)
    office.tell("email")
    first, second = mailbox.mails
    assert second["In-Reply-To"] == first["Message-ID"]
    assert second["Subject"].startswith("refund still waits for an answer, asked 15 min")


@pytest.mark.parametrize(
    ("answers", "mails"),
    [(["451 later"], 1), (["451 later"] * 4, 1), (["554 no"], 1), (["drop"], 2)],
    ids=["later", "often later", "no", "taken and dropped"],
)
def test_no_mail_is_lost(
    offices: Open, database_url: str, mailbox: Mailbox, answers: list[str], mails: int
) -> None:
    office = mailing(offices, database_url, mailbox.port)
    mailbox.answers = list(answers)
    one = office.refund()
    office.tell("email", until=HOUR)
    assert len(mailbox.mails) == mails
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1, (
        "a mailbox knows the second for the first"
    )
    assert {n.state for n in office.outbox.of_case(one) if n.scheme == "email"} == {"shown"}


def test_a_server_that_is_away_is_tried_again(offices: Open, database_url: str) -> None:
    office = mailing(offices, database_url, 1)
    office.refund()
    office.tell("email", until=60_000)
    (stuck,) = (one for one in office.outbox.stuck() if one.scheme == "email")
    assert stuck.problem == "127.0.0.1:1 cannot be used (ConnectionRefusedError)"
    assert stuck.attempts > 2


def test_a_server_that_wants_to_know_who_sends(
    offices: Open, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Mailbox(login=True)
    monkeypatch.setenv("MAIL_USER", "claw")
    try:
        office = mailing(offices, database_url, box.port, ", user: MAIL_USER, password: MAIL_PASSWORD")
        office.refund()
        office.tell("email")
        assert not box.mails
        (stuck,) = (one for one in office.outbox.stuck() if one.scheme == "email")
        assert "MAIL_PASSWORD has no value" in (stuck.problem or "")
        monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
        office.tell("email", until=60_000)
        assert len(box.mails) == 1
        assert PASSWORD not in str(office.outbox.of_case(stuck.case_id))
    finally:
        box.close()
