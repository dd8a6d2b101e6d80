"""How `claw send` brings an event in: signed over HTTP, or straight into the ledger for manual triggers."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import ManualTrigger, WebhookTrigger
from openclaw_dagster.store.case import Case
from openclaw_dagster.store.ledger import Ledger
from openclaw_dagster.web.door import LOOPBACK
from openclaw_dagster.web.secrets import secrets_of
from openclaw_dagster.web.signatures import sign

#: Seconds the host may take for one answer, and between two looks at a case.
PATIENCE = 15.0
LOOK = 0.25
#: States in which nothing happens until somebody does something.
RESTING = frozenset({"completed", "handed_off", "dead_lettered", "cancelled", "awaiting_human"})


class HostAway(ClawError):
    """
    Nothing that takes webhooks answers at {url} ({problem}): start it with `claw dev`, or say where it is
    with --url.
    """

    code = "CLAW705"


class PayloadRefused(ClawError):
    """The payload does not fit {trigger}: {problem}. Set it with --set path=value, --data or --file."""

    code = "CLAW706"


@dataclass(frozen=True)
class Delivered:
    """What became of one event."""

    status: int  # HTTP's word; 0 when it went straight to the ledger
    taken: bool
    signed: bool
    case: str | None
    duplicate: bool
    url: str | None
    problem: str = ""  # why it was refused, or opened no case

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def post(
    shop: Workspace, system: System, trigger: WebhookTrigger, payload: Mapping[str, Any], base: str
) -> Delivered:
    """Post one event to the host, signed with the trigger's first secret where there is one; HostAway."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    scheme, secrets = secrets_of(shop, system, trigger)
    headers = {"Content-Type": "application/json"}
    if secrets:
        headers |= sign(scheme, secrets[0], body, shop.clock.now(), f"msg_{uuid.uuid4().hex}")
    url = f"{base.rstrip('/')}/hooks/{system.name}/{trigger.name}"
    status, said = _exchange(urllib.request.Request(url, body, headers, method="POST"))
    taken = status == 202
    problem = str(said.get("ignored" if taken else "error", "")) or (
        "" if taken else "the server gave no reason"
    )
    return Delivered(
        status, taken, bool(secrets), said.get("case"), bool(said.get("duplicate")), said.get("url"), problem
    )


def _exchange(request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
    try:
        with opener(request.full_url).open(request, timeout=PATIENCE) as answer:
            return answer.status, _read(answer.read(1 << 20))
    except urllib.error.HTTPError as error:
        return error.code, _read(error.read(1 << 20))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise HostAway(
            url=request.full_url, problem=getattr(reason, "strerror", None) or str(reason)
        ) from error


def opener(url: str) -> urllib.request.OpenerDirector:
    """Return what fetches the url: never through a proxy when it is this machine."""
    here = urlsplit(url).hostname in LOOPBACK
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))


def _read(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def enter(
    shop: Workspace, system: System, trigger: ManualTrigger, payload: dict[str, Any], who: str
) -> Delivered:
    """Write one event of a manual trigger into the ledger, asked for by `who`; PayloadRefused when it does not fit."""
    from openclaw_dagster.adapters.schemas import first_mismatch
    from openclaw_dagster.cli.place import case_url
    from openclaw_dagster.cli.sample import schema_of
    from openclaw_dagster.runtime.intake import arrival
    from openclaw_dagster.web.body import BodyRefused, idempotency_key

    name = f"{system.name}.{trigger.name}"
    schema = schema_of(system, trigger)
    if schema is not None and (wrong := first_mismatch(schema, payload)):
        raise PayloadRefused(trigger=name, problem=wrong)
    try:
        key = (
            idempotency_key(payload, trigger.idempotency.path)
            if trigger.idempotency
            else f"manual-{uuid.uuid4().hex}"
        )
    except BodyRefused as refused:
        raise PayloadRefused(trigger=name, problem=str(refused).rstrip(".")) from refused
    (receipt,) = shop.ledger.receive([arrival(system, trigger, payload, key, requester=who)])
    url = case_url(shop.settings, receipt.case_id) if receipt.case_id else None
    return Delivered(0, True, False, receipt.case_id, receipt.duplicate, url)


def follow(ledger: Ledger, case_id: str, seconds: float) -> Iterator[Case]:
    """Yield a case each time its state has changed, until it rests or the time is over."""
    end = time.monotonic() + seconds
    seen = None
    while True:
        case = ledger.case(case_id)
        if case is not None and (case.state, case.reason) != seen:
            seen = (case.state, case.reason)
            yield case
        if (case is not None and case.state in RESTING) or time.monotonic() >= end:
            return
        time.sleep(LOOK)
