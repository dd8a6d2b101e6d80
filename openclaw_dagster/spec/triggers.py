"""What starts a case: webhooks, moments of the clock, events of other systems, people."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.queues import check_queue
from openclaw_dagster.spec.units import (
    Action,
    Duration,
    Event,
    Key,
    Name,
    Secret,
    format_duration,
    problem,
    shown,
)

#: How often (ms) a condition may be asked.
SHORTEST_LOOK = 10_000

Scheme = Literal["standard-webhooks", "github", "stripe", "shopify", "slack", "hmac"]


class Verify(Frozen):
    """How a webhook proves who sent it."""

    scheme: Scheme = Field(description="Whose signature format it is.")
    secret: Secret = Field(description="The name of the secret, never its value.")


class Idempotency(Frozen):
    """Which events are the same event."""

    key: Key = Field(description="Path into the payload, such as `order.id`.")
    window: Duration | None = Field(
        default=None, description="How long a key is remembered; without it for ever."
    )

    @property
    def path(self) -> tuple[str, ...]:
        """The key as a tuple of its parts."""
        return tuple(self.key.split("."))


def _idempotency(value: Any) -> Any:
    if value is None or isinstance(value, str | dict):
        return {"key": value} if isinstance(value, str) else value
    raise problem("CLAW014", f"idempotency is a path such as order.id, not {shown(value)}")


class WebhookTrigger(Frozen):
    """A signed HTTP call to `/hooks/{system}/{trigger}` starts a case."""

    name: Name = Field(exclude=True)
    source: Literal["webhook"] = Field(description="A signed HTTP call starts a case.")
    verify: Verify | None = Field(default=None, description="Signature scheme; without it Standard Webhooks.")
    schema_file: str | None = Field(
        default=None, alias="schema", description="JSON Schema file of the payload."
    )
    when: str | None = Field(
        default=None, description="CEL over the payload; events for which it is false start no case."
    )
    idempotency: Annotated[
        Idempotency | None, BeforeValidator(_idempotency, json_schema_input_type=Key | Idempotency)
    ] = Field(default=None, description="Path of the key in the payload; without it the sender's message id.")
    requester: Key | None = Field(
        default=None,
        description="Path of who asked for it: a person's id, email or Slack id; who asks cannot approve.",
    )
    critical: bool = Field(default=False, description="First in line when there is a queue.")


class ScheduleTrigger(Frozen):
    """A moment of the clock starts a case."""

    name: Name = Field(exclude=True)
    source: Literal["schedule"] = Field(description="A moment of the clock starts a case.")
    cron: str = Field(description="Five cron fields.")
    timezone: str = Field(default="UTC", description="IANA time zone the cron fields are read in.")
    catchup: Literal["none", "last", "all"] = Field(
        default="last", description="Which ticks missed while the daemon was down are made up for."
    )
    critical: bool = Field(default=False, description="First in line when there is a queue.")


class EventTrigger(Frozen):
    """An event that a system emitted starts a case."""

    name: Name = Field(exclude=True)
    source: Literal["event"] = Field(description="An event that a system emitted starts a case.")
    of: Event = Field(description="`system.event`, such as `dispatch.booking.confirmed`.")
    when: str | None = Field(
        default=None, description="CEL over the payload; events for which it is false start no case."
    )
    requester: Key | None = Field(
        default=None,
        description="Path of who asked for it: a person's id, email or Slack id; who asks cannot approve.",
    )
    critical: bool = Field(default=False, description="First in line when there is a queue.")


class ManualTrigger(Frozen):
    """A person starts a case with `claw send`, or a step of another system does with `runbook.NAME`."""

    name: Name = Field(exclude=True)
    source: Literal["manual"] = Field(description="A person starts a case with `claw send`.")
    schema_file: str | None = Field(
        default=None, alias="schema", description="JSON Schema file of the payload."
    )
    idempotency: Annotated[
        Idempotency | None, BeforeValidator(_idempotency, json_schema_input_type=Key | Idempotency)
    ] = Field(
        default=None, description="Path of the key in the payload; without it every start is its own case."
    )
    critical: bool = Field(default=False, description="First in line when there is a queue.")


def _patience(value: int) -> int:
    if value < SHORTEST_LOOK:
        raise problem("CLAW017", f"{format_duration(value)} is too often: a look costs, so at least 10s")
    return value


class ConditionTrigger(Frozen):
    """Something that becomes true in the world outside starts a case, once each time it does."""

    name: Name = Field(exclude=True)
    source: Literal["condition"] = Field(description="What becomes true outside starts a case.")
    read: Action = Field(description="The read action that is asked.")
    arguments: dict[str, Any] = Field(
        default={},
        alias="with",
        description="Its arguments, as they are: there is no event to compute them from.",
    )
    when: str = Field(description="CEL over `value`, what was read; a case starts when it becomes true.")
    hold: Duration = Field(
        default=0, alias="for", description="How long it must have been true without a break."
    )
    every: Annotated[Duration, AfterValidator(_patience)] = Field(
        default=60_000, description="How often it is asked; at least 10s."
    )
    critical: bool = Field(default=False, description="First in line when there is a queue.")


class QueueTrigger(Frozen):
    """A message in a queue starts a case; it is taken from the queue once its event is committed."""

    name: Name = Field(exclude=True)
    source: Literal["queue"] = Field(description="A message in a queue starts a case.")
    queue: Annotated[str, AfterValidator(check_queue)] = Field(
        description="nats://STREAM/subject, or queue://… for the dead letters that go there."
    )
    batch: int = Field(default=50, ge=1, le=500, description="How many messages are taken at a time.")
    schema_file: str | None = Field(
        default=None,
        alias="schema",
        description="JSON Schema file of the payload; what does not fit is poison.",
    )
    when: str | None = Field(
        default=None, description="CEL over the payload; messages for which it is false start no case."
    )
    idempotency: Annotated[
        Idempotency | None, BeforeValidator(_idempotency, json_schema_input_type=Key | Idempotency)
    ] = Field(default=None, description="Path of the key in the payload; without it the message's own id.")
    requester: Key | None = Field(
        default=None,
        description="Path of who asked for it: a person's id, email or Slack id; who asks cannot approve.",
    )
    critical: bool = Field(default=False, description="First in line when there is a queue.")

    @property
    def dead_letters(self) -> bool:
        """Whether it listens to dead letters of this product rather than to a message server."""
        return self.queue.startswith("queue://")


Trigger = WebhookTrigger | ScheduleTrigger | EventTrigger | ManualTrigger | ConditionTrigger | QueueTrigger
