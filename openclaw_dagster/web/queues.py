"""Messages of NATS JetStream in: each is acknowledged after its event is committed, poison goes to the dead letters."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.intake import arrival, poison
from openclaw_dagster.runtime.payloads import mismatch
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.queues import stream_of
from openclaw_dagster.spec.triggers import QueueTrigger
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.store.events import Arrival
from openclaw_dagster.web.body import BodyRefused, idempotency_key, parse_body
from openclaw_dagster.web.inlet import Inlet

log = logging.getLogger(__name__)

#: The header by which whoever publishes a message tells it apart.
MESSAGE_ID = "Nats-Msg-Id"
#: Seconds that one fetch waits for a message.
FETCH = 20.0
#: Seconds before a server that is away, or a stream that is not there, is asked again.
AWAY = 3.0
#: Seconds after which a message that was not acknowledged comes again.
ACK_WAIT = 60.0
#: Most characters of a poisonous message that are kept.
KEPT = 4_000


@dataclass(frozen=True)
class Source:
    """One queue trigger, with its stream."""

    system: System
    trigger: QueueTrigger
    stream: str
    subject: str

    @property
    def durable(self) -> str:
        """The name under which the server remembers what was taken; every web process shares it."""
        return f"claw-{self.system.name}-{self.trigger.name}"


class Queues:
    """Takes messages for every queue trigger, as one task each in the host's own loop."""

    def __init__(self, shop: Workspace, inlet: Inlet) -> None:
        self.shop = shop
        self.inlet = inlet
        self._tasks: list[asyncio.Task[None]] = []

    def sources(self) -> list[Source]:
        """Return the queue triggers that listen to a message server."""
        return [
            Source(system, trigger, *found)
            for system in self.shop.systems.values()
            for trigger in system.triggers
            if isinstance(trigger, QueueTrigger) and (found := stream_of(trigger.queue)) is not None
        ]

    def start(self) -> None:
        """Begin to listen; without a server in the environment it is said once, and nothing comes."""
        sources = self.sources()
        if sources and self.shop.environment.queues.nats is None:
            log.error(
                "%s waits for messages, and the environment names no server under `queues:`",
                sources[0].durable,
            )
            return
        self._tasks = [asyncio.create_task(self._listen(source)) for source in sources]

    async def stop(self) -> None:
        """Take no more; what was not acknowledged comes again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self, source: Source) -> None:
        while True:
            try:
                await self._serve(source)
            except (NatsError, OSError, TimeoutError, ClawError) as error:
                log.warning(
                    "queue %s: %s; asking again", source.trigger.queue, str(error) or type(error).__name__
                )
            except Exception:
                log.exception("queue %s: an exception nobody foresaw; asking again", source.trigger.queue)
            await asyncio.sleep(AWAY)

    async def _serve(self, source: Source) -> None:
        server = self.shop.environment.queues.nats
        assert server is not None
        token = {"token": self.shop.secret(server.token)} if server.token else {}
        line = await nats.connect(
            server.url, max_reconnect_attempts=3, error_cb=_quiet, connect_timeout=5, **token
        )
        try:
            config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT, max_ack_pending=1_000)
            pull = await line.jetstream().pull_subscribe(
                source.subject, durable=source.durable, stream=source.stream, config=config
            )
            while True:
                try:
                    messages = await pull.fetch(source.trigger.batch, timeout=FETCH)
                except nats.errors.TimeoutError:
                    continue
                await asyncio.gather(*(self._take(source, one) for one in messages))
        finally:
            await line.close()

    async def _take(self, source: Source, message: Msg) -> None:
        """Commit one message, then acknowledge it; when it cannot be committed now it comes again."""
        try:
            receipt = await self.inlet.put(event_of(source, message))
        except DatabaseAway as away:
            log.warning("queue %s: %s", source.trigger.queue, away)
            await message.nak(delay=AWAY)
            return
        if receipt.differs:
            log.warning(
                "queue %s: a key came again with another payload; the first one stands", source.trigger.queue
            )
        await message.ack()


async def _quiet(error: Exception) -> None:
    log.debug("nats: %s", error)


def event_of(source: Source, message: Msg) -> Arrival:
    """Return the event of a message; of one that cannot be read, the event of a case that goes to the dead letters."""
    number = message.metadata.sequence.stream
    own = f"{source.stream}:{number}"
    try:
        payload = parse_body(message.data, "application/json", None)
        why = mismatch(source.system, source.trigger.schema_file, payload)
        if why is not None:
            return poison(source.system, source.trigger, own, why, _text(message.data))
        key = _key(source.trigger, message.headers or {}, payload, own)
        return arrival(
            source.system,
            source.trigger,
            payload,
            key,
            traceparent=(message.headers or {}).get("traceparent"),
        )
    except (BodyRefused, ClawError) as refused:
        return poison(source.system, source.trigger, own, str(refused), _text(message.data))


def _key(trigger: QueueTrigger, headers: Mapping[str, str], payload: dict[str, Any], own: str) -> str:
    if trigger.idempotency is not None:
        return idempotency_key(payload, trigger.idempotency.path)
    given = headers.get(MESSAGE_ID)
    return idempotency_key({MESSAGE_ID: given}, (MESSAGE_ID,)) if given else own


def _text(data: bytes) -> str:
    return json.dumps(data.decode("utf-8", "backslashreplace")[:KEPT])[1:-1]
