"""Tells people: claims what is to be said, says it once, keeps it current, and asks before it says it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from openclaw_dagster.adapters.channel import Channel, Gone, Message, Sent, Trouble
from openclaw_dagster.adapters.outcome import Failed, Refused, Unknown
from openclaw_dagster.clock import DAY, MINUTE, SECOND
from openclaw_dagster.faults import point
from openclaw_dagster.runtime.notify import told
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.notices import Notice
from openclaw_dagster.store.outbox import CERTAIN, MAYBE, TWICE

log = logging.getLogger(__name__)

#: How long (ms) one sender may be silent before another takes over what it was about to say.
LEASE = 3 * MINUTE
#: How long (ms) something is tried, and how often at most, before it is given up.
LONG, MOST = DAY, 80
#: How often it is tried at least, however old it is: a host that was down for two days has not tried for two days.
LEAST = 10
#: The wait (ms) after the first attempt that failed, and the longest; each is twice the one before.
FIRST, LONGEST = 5 * SECOND, 30 * MINUTE
#: The shortest wait (ms) after a no that only people can turn into a yes.
REFUSED = MINUTE
#: How long (ms) after a doubt it is looked whether a message came late, which would be one too many.
SETTLE = 30 * SECOND


class Sender:
    """Sends the notices of one ledger; as many senders as there are may do so at once."""

    def __init__(self, shop: Workspace) -> None:
        self.shop = shop
        self.outbox = shop.outbox

    def begin(self) -> None:
        """Take up again what no channel led to, where one does now."""
        for scheme in self.shop.ways.by_scheme:
            self.outbox.revive(scheme)

    def next(self, scheme: str) -> int | None:
        """Return when (ms) there is something to say by a channel, or None."""
        return self.outbox.next(scheme)

    def drain(self, scheme: str, *, seconds: float, stop: Callable[[], bool] = lambda: False) -> int:
        """Say what is due by one channel, for about so many seconds at most; return how many were taken up."""
        end = monotonic() + seconds
        count = 0
        while monotonic() < end and not stop():
            at = self.outbox.next(scheme)
            if at is None or at > self.shop.clock.now() or not self.step(scheme):
                break
            count += 1
        return count

    def step(self, scheme: str) -> bool:
        """Take up the next notice of a channel; False when there was none."""
        started = monotonic()
        notice = self.outbox.claim(scheme, lease=LEASE)
        if notice is None:
            return False
        point("notice.claimed")
        channel = self.shop.ways.by_scheme.get(scheme)
        if channel is None:
            log.info("nobody is told at %s: the environment has no channel %s", notice.place, scheme)
            self.outbox.end(notice, "nowhere", f"the environment has no channel {scheme}", doubt=notice.doubt)
            return True
        try:
            _Turn(self, notice, channel, started).take()
        except DatabaseAway:
            raise
        except Exception as error:
            kind = type(error).__name__
            log.exception("%s could not be told", notice.id)
            _Turn(self, notice, channel, started).later(Unknown(f"a mistake of this software, {kind}"))
            raise
        return True


class _Turn:
    """One attempt to bring one notice up to date."""

    def __init__(self, sender: Sender, notice: Notice, channel: Channel, started: float) -> None:
        self.shop, self.outbox = sender.shop, sender.outbox
        self.notice, self.channel = notice, channel
        self.ends = started + LEASE / 1000

    def take(self) -> None:
        """Say it, or change what was said."""
        notice = self.notice
        message = told(self.shop, notice)
        if message is not None:
            message = self.shop.ways.quiet(message)
        below = self._below()
        if notice.sort == "follow_up" and below is None:
            # the request itself is still to be said, and says all of it
            self._moot("the request itself was not there yet")
            return
        sent = self._there(below)
        if not isinstance(sent, Sent | None):
            self.later(sent)
        elif sent is not None:
            self._change(sent, message)
        elif message is None or (notice.sort == "request" and not message.verdicts):
            self._moot("nobody waits for an answer any more")
        elif self._in_time():
            self._post(message, below)

    def _below(self) -> Sent | None:
        """Return the message that a follow-up continues."""
        parent = self.outbox.parent(self.notice) if self.notice.sort == "follow_up" else None
        return sent_of(parent) if parent else None

    def _there(self, below: Sent | None) -> Sent | Trouble | None:
        """Return the message that is there, asked for where there is doubt; None when there is none."""
        notice, sent = self.notice, sent_of(self.notice)
        doubtful = notice.doubt == TWICE or (sent is None and notice.doubt == MAYBE)
        if not self.channel.keeps or not doubtful:
            return sent
        found = self.channel.find(notice.place, notice.id, notice.made_at, below)
        return self._only(sent, found) if isinstance(found, list) else found

    def _only(self, sent: Sent | None, found: list[Sent]) -> Sent | Trouble | None:
        """Return the one message that stays; others of the same key are taken away."""
        stays = sent if sent in found or not found else found[0]
        for extra in found:
            if extra != stays and (trouble := self.channel.remove(extra)) is not None:
                return trouble
        return stays

    def _post(self, message: Message, below: Sent | None) -> None:
        outcome = self.channel.post(self.notice.place, self.notice.id, message, below)
        point("notice.posted")
        if isinstance(outcome, Sent):
            again = self.notice.doubt != CERTAIN and self.channel.keeps
            self._said(outcome, posted=True, look=again)
        else:
            self.later(outcome)

    def _change(self, sent: Sent, message: Message | None) -> None:
        if self.notice.sort != "request" or message is None:
            self._said(sent)
            return
        if not self._in_time():
            return
        outcome = self.channel.change(sent, self.notice.id, message)
        match outcome:
            case Sent():
                self._said(outcome)
            case Gone() if message.verdicts:
                now = self.shop.clock.now()
                problem = "the message was taken away: it is posted again"
                self._kept(self.outbox.later(self.notice, now, problem, doubt=CERTAIN, lost=True))
            case Gone():
                self._said(sent)
            case _:
                self.later(outcome)

    def _said(self, sent: Sent, *, posted: bool = False, look: bool = False) -> None:
        at = self.shop.clock.now() + SETTLE if look else None
        doubt = TWICE if look else CERTAIN
        kept = self.outbox.said(self.notice, sent.channel, sent.message, doubt=doubt, look_at=at)
        self._kept(kept, sent if posted else None)

    def _kept(self, kept: bool, posted: Sent | None = None) -> None:
        """Mend what a sender did whose time was over: another has the notice, and may have said it too."""
        if kept:
            return
        now = self.outbox.again(self.notice)
        log.warning("%s: another sender took over, for this one was too slow", self.notice.id)
        if posted is not None and now is not None and now.message not in (None, posted.message):
            self.channel.remove(posted)

    def _in_time(self) -> bool:
        """Tell whether the lease lasts for one more call; what is too late is left to the next sender."""
        if monotonic() + 2 * self.channel.seconds < self.ends:
            return True
        self._kept(
            self.outbox.later(self.notice, self.shop.clock.now(), "it took too long", doubt=self.notice.doubt)
        )
        return False

    def _moot(self, why: str) -> None:
        """Nothing is to be said any more; after a doubt it is looked once more for what came late."""
        if self.notice.doubt == MAYBE and self.channel.keeps:
            at = self.shop.clock.now() + SETTLE
            self._kept(self.outbox.later(self.notice, at, why, doubt=TWICE))
        else:
            self._kept(self.outbox.end(self.notice, "moot", why, doubt=CERTAIN))

    def later(self, trouble: Trouble) -> None:
        """Try it again, later each time; after a day, or often enough, not any more."""
        notice, now = self.notice, self.shop.clock.now()
        doubt = (
            max(notice.doubt, MAYBE)
            if isinstance(trouble, Unknown) and notice.message is None
            else notice.doubt
        )
        asked = trouble.retry_after if isinstance(trouble, Failed) else None
        long_tried = now - notice.since >= LONG and notice.attempts >= LEAST
        if long_tried or (notice.attempts >= MOST and asked is None):
            log.error("%s reaches nobody, and is given up: %s", notice.id, trouble.reason)
            self._kept(self.outbox.end(notice, "given_up", trouble.reason, doubt=doubt))
            return
        if asked is not None:
            wait = max(asked, min(notice.attempts, 30) * SECOND)
        else:
            wait = min(FIRST * 2 ** min(notice.attempts - 1, 20), LONGEST)
            wait = max(wait, REFUSED) if isinstance(trouble, Refused) else wait
        log.warning("%s: not told yet (%s); again in %d s", notice.id, trouble.reason, wait // SECOND)
        self._kept(self.outbox.later(notice, now + wait, trouble.reason, doubt=doubt, hush=asked is not None))


def sent_of(notice: Notice) -> Sent | None:
    """Return the message of a notice, where there is one."""
    if notice.channel is None or notice.message is None:
        return None
    return Sent(notice.channel, notice.message)
