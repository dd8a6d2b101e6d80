"""`/hooks/{system}/{trigger}`: a signed event in, 202 with its case out, after the commit."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from openclaw_dagster import telemetry
from openclaw_dagster.faults import point
from openclaw_dagster.runtime.intake import ConditionFailed, arrival
from openclaw_dagster.runtime.payloads import mismatch
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.settings import NoSecret
from openclaw_dagster.spec.model import System
from openclaw_dagster.spec.triggers import WebhookTrigger
from openclaw_dagster.store.database import DatabaseAway
from openclaw_dagster.web.body import BodyRefused, idempotency_key, parse_body
from openclaw_dagster.web.inlet import Inlet, read_body
from openclaw_dagster.web.limits import RateLimit
from openclaw_dagster.web.secrets import secrets_of
from openclaw_dagster.web.signatures import SignatureRefused, message_id, verify

log = logging.getLogger(__name__)

#: Seconds after which a sender may try again when the ledger is away.
RETRY_AFTER = 5


@dataclass(frozen=True)
class Refusal(Exception):
    """The event is not taken; `status` is HTTP's word for why."""

    status: int
    problem: str
    headers: tuple[tuple[str, str], ...] = ()


class Webhooks:
    """The door for webhooks of every system."""

    def __init__(self, shop: Workspace, inlet: Inlet) -> None:
        self.shop = shop
        self.inlet = inlet
        self.limit = RateLimit(shop.clock)

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer one call; whatever it holds, the answer is never a 5xx, except 503 when the ledger is away."""
        try:
            return await self._take(request)
        except Refusal as refusal:
            return _answer(refusal.status, {"error": refusal.problem}, dict(refusal.headers))
        except BodyRefused as refused:
            return _answer(int(refused.status), {"error": str(refused)})
        except SignatureRefused as refused:
            log.warning("webhook %s refused: %s", request.url.path, refused)
            return _answer(401, {"error": str(refused)})
        except DatabaseAway as away:
            log.error("webhook %s not taken: %s", request.url.path, away)
            problem = "the ledger is away, so the event was not taken: send it again"
            return _answer(503, {"error": problem}, {"Retry-After": str(RETRY_AFTER)})
        except ClientDisconnect:
            return _answer(400, {"error": "the sender hung up before the body was complete"})

    async def unknown(self, _request: Request) -> JSONResponse:
        """Answer a call to a webhook address that does not have the form of one."""
        return _answer(404, {"error": "no system has a webhook of this name"})

    async def _take(self, request: Request) -> JSONResponse:
        system, trigger = self._find(request)
        if request.method != "POST":
            raise Refusal(405, "webhooks are posted", (("Allow", "POST"),))
        client = request.client.host if request.client else "unknown"
        wait = self.limit.take(client, f"{system.name}.{trigger.name}")
        if wait is not None:
            raise Refusal(429, "too many events at once from this sender", (("Retry-After", str(wait)),))
        body = await read_body(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._verify(system, trigger, headers, body)
        payload = parse_body(body, headers.get("content-type"), headers.get("content-encoding"))
        _check_schema(system, trigger, payload)
        key = _key(trigger, headers, payload, body)
        try:
            event = arrival(
                system,
                trigger,
                payload,
                key,
                traceparent=headers.get("traceparent") or telemetry.traceparent(),
            )
        except ConditionFailed as failed:
            raise Refusal(422, str(failed)) from failed
        point("webhook.verified")
        receipt = await self.inlet.put(event)
        point("webhook.committed")
        said: dict[str, Any] = {
            "event": receipt.event_id,
            "case": receipt.case_id,
            "duplicate": receipt.duplicate,
        }
        if receipt.differs:
            said["error"] = (
                f"the key {key!r} came before with another payload: that event stands, this one is not taken"
            )
            return _answer(409, said)
        if receipt.case_id is None:
            said["ignored"] = f"the condition of {trigger.name} is false"
        else:
            said["url"] = f"{self.shop.settings.public_url}/claw/cases/{receipt.case_id}"
        return _answer(202, said)

    def _find(self, request: Request) -> tuple[System, WebhookTrigger]:
        system = self.shop.systems.get(request.path_params["system"])
        name = request.path_params["trigger"]
        for trigger in system.triggers if system else ():
            if trigger.name == name and isinstance(trigger, WebhookTrigger):
                assert system is not None
                return system, trigger
        raise Refusal(404, "no system has a webhook of this name")

    def _verify(
        self, system: System, trigger: WebhookTrigger, headers: Mapping[str, str], body: bytes
    ) -> None:
        try:
            scheme, secrets = secrets_of(self.shop, system, trigger)
        except NoSecret as missing:
            # it could not have started like this: the secret was taken away while it ran
            raise SignatureRefused(scheme="webhook", reason="the secret is not set any more") from missing
        if secrets:
            verify(scheme, secrets, headers, body, self.shop.clock.now())


def _key(trigger: WebhookTrigger, headers: Mapping[str, str], payload: dict[str, Any], body: bytes) -> str:
    if trigger.idempotency is not None:
        return idempotency_key(payload, trigger.idempotency.path)
    scheme = trigger.verify.scheme if trigger.verify else "standard-webhooks"
    return message_id(scheme, headers) or "sha256:" + hashlib.sha256(body).hexdigest()


def _check_schema(system: System, trigger: WebhookTrigger, payload: dict[str, Any]) -> None:
    why = mismatch(system, trigger.schema_file, payload)
    if why is not None:
        raise Refusal(422, why)


def _answer(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return JSONResponse(content, status, headers={**safe, **(headers or {})})
