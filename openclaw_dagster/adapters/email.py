"""Mail: a plain text with a link; what is decided, is decided on the page it leads to."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from openclaw_dagster.adapters.channel import Gone, Message, Sent, Trouble, cut, literal
from openclaw_dagster.adapters.outcome import Failed, Refused, Unknown
from openclaw_dagster.adapters.secrets import NoSecret, Secrets
from openclaw_dagster.clock import Clock
from openclaw_dagster.spec.channels import EmailChannel


class Email:
    """One mail server. A mail cannot be asked about or changed: each is sent as often as nobody knows better."""

    keeps = False

    def __init__(
        self, binding: EmailChannel, secrets: Secrets, clock: Clock, *, seconds: float = 15.0
    ) -> None:
        self.seconds = seconds
        self._binding = binding
        self._secrets = secrets
        self._clock = clock

    def post(self, place: str, key: str, message: Message, below: Sent | None) -> Sent | Trouble:
        """Send a mail; the same key gives the same Message-ID, by which mailboxes drop a second one."""
        to = place.partition("://")[2]
        made = self._mail(to, key, message, below)
        what = f"{self._binding.host}:{self._binding.port}"
        try:
            server = self._connected()
        except NoSecret as error:
            return Failed(str(error))
        except (OSError, smtplib.SMTPException) as error:
            return Failed(f"{what} cannot be used ({type(error).__name__})")
        try:
            server.send_message(made, self._binding.sender, [to])
        except smtplib.SMTPResponseException as error:
            return _refusal(error.smtp_code)
        except smtplib.SMTPRecipientsRefused as error:
            return _refusal(next(iter(error.recipients.values()))[0])
        except (OSError, smtplib.SMTPException) as error:
            return Unknown(f"{what} broke off ({type(error).__name__})")
        finally:  # however the farewell goes, what was taken was taken
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
        return Sent(to, str(made["Message-ID"]))

    def find(self, place: str, key: str, since: int, below: Sent | None) -> list[Sent] | Trouble:  # noqa: ARG002
        """Return nothing: who may look into a mailbox?"""
        return []

    def change(self, sent: Sent, key: str, message: Message) -> Sent | Gone | Trouble:  # noqa: ARG002
        """Leave a mail as it is: its page shows what holds now."""
        return sent

    def remove(self, sent: Sent) -> Trouble | None:  # noqa: ARG002
        """Leave a mail where it is."""
        return None

    def close(self) -> None:
        """Nothing is kept open."""

    def _connected(self) -> smtplib.SMTP:
        binding, context = self._binding, ssl.create_default_context()
        server: smtplib.SMTP
        if binding.tls == "tls":
            server = smtplib.SMTP_SSL(binding.host, binding.port, timeout=self.seconds, context=context)
        else:
            server = smtplib.SMTP(binding.host, binding.port, timeout=self.seconds)
        try:
            if binding.tls == "starttls":
                server.starttls(context=context)
            if binding.user and binding.password:
                server.login(self._secrets.value(binding.user), self._secrets.value(binding.password))
        except BaseException:
            with suppress(OSError, smtplib.SMTPException):
                server.close()
            raise
        return server

    def _mail(self, to: str, key: str, message: Message, below: Sent | None) -> EmailMessage:
        domain = self._binding.sender.rpartition("@")[2]
        name, _, host = to.rpartition("@")
        mail = EmailMessage()
        mail["Subject"] = cut(_line(f"{message.title} · {message.about}"), 200)
        mail["From"] = self._binding.sender
        mail["To"] = str(Address(username=name, domain=host))
        mail["Date"] = format_datetime(datetime.fromtimestamp(self._clock.now() / 1000, tz=UTC))
        mail["Message-ID"] = f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{domain}>"
        if below is not None:
            mail["In-Reply-To"] = mail["References"] = below.message
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(_text(message))
        return mail


def _refusal(code: int) -> Failed | Refused:
    """Return what the server's no means; its words are not kept, they may quote the mail."""
    said = f"the mail server said {code}"
    return Failed(said) if 400 <= code < 500 else Refused(said)


def _text(message: Message) -> str:
    lines = [message.title, message.about, message.standing, ""]
    lines += [f"{label}: {_line(value)}" for label, value in message.lines]
    for label, text in message.texts:
        lines += ["", f"{label}:", *(f"    {line}" for line in cut(literal(text)).split("\n"))]
    lines += ["", message.link, "Opening the page decides nothing; it is answered there."]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(literal(text).split())
