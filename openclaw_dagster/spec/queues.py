"""Queues that start cases: an environment's message servers, and what a `queue:` names."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from openclaw_dagster.spec.contracts import Frozen
from openclaw_dagster.spec.units import check_secret, problem

#: nats://STREAM/subject, or a queue of this product's own such as queue://ops.dlq.
_NATS = re.compile(r"^nats://([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_.*>-]{1,200})$")
_OWN = re.compile(r"^queue://[a-z][a-z0-9_.-]{0,63}$")


def check_queue(value: str) -> str:
    """Return the address of a queue; a problem when it is none."""
    if _NATS.match(value) is None and _OWN.match(value) is None:
        raise problem(
            "CLAW014",
            f"{value[:80]!r} is no queue: write nats://STREAM/subject, or queue://ops.dlq for dead letters",
        )
    return value


def stream_of(queue: str) -> tuple[str, str] | None:
    """Return stream and subject of a queue on NATS JetStream; None for one of this product's own."""
    found = _NATS.match(queue)
    return (found[1], found[2]) if found else None


def _server(value: str) -> str:
    if not re.match(r"^(nats|tls)://[^\s/@?#]+$", value):
        raise problem(
            "CLAW014", f"{value[:80]!r} is no server: write nats://host:4222, credentials by `token`"
        )
    return value


class NatsServer(Frozen):
    """A NATS server with JetStream."""

    url: Annotated[str, AfterValidator(_server)] = Field(
        description="Its address, such as nats://127.0.0.1:4222."
    )
    token: Annotated[str, AfterValidator(check_secret)] | None = Field(
        default=None, description="The name of the secret that is the token to connect with."
    )


class Queues(Frozen):
    """Where an environment's queues are."""

    nats: NatsServer | None = Field(default=None, description="The NATS server behind nats://STREAM/subject.")
