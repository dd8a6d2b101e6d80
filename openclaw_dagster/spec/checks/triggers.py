"""The triggers: cron and time zone, schema and condition."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from openclaw_dagster.spec.checks.expressions import check_expression, check_template, find_operation
from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.triggers import (
    ConditionTrigger,
    EventTrigger,
    ManualTrigger,
    QueueTrigger,
    ScheduleTrigger,
    WebhookTrigger,
)
from openclaw_dagster.spec.units import shown

#: Words of JSON Schema behind which more properties may stand than are listed.
_OPEN = frozenset(
    ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"]
)


def check_triggers(draft: Draft) -> None:
    """Cron, time zone, schema and condition of every trigger."""
    for trigger in draft.triggers:
        match trigger:
            case ScheduleTrigger():
                _check_cron(draft, trigger)
                _check_zone(draft, trigger)
            case WebhookTrigger() | ManualTrigger() | QueueTrigger():
                _check_schema(draft, trigger)
                _check_paths(draft, trigger)
            case EventTrigger():
                _check_of(draft, trigger)
            case ConditionTrigger():
                _check_condition(draft, trigger)
                continue
        when = getattr(trigger, "when", None)
        if when is not None:
            check_expression(draft.findings, when, None, draft.value("triggers", trigger.name, "when"))


def _check_condition(draft: Draft, trigger: ConditionTrigger) -> None:
    mark = draft.value("triggers", trigger.name, "read")
    operation = find_operation(draft, trigger.read, mark)
    if operation is not None and operation.effect != "read":
        draft.findings.add(mark, "CLAW032", f"{trigger.read} writes; a condition only reads")
    known = frozenset({"value"})
    check_expression(draft.findings, trigger.when, known, draft.value("triggers", trigger.name, "when"))
    if trigger.arguments:
        check_template(draft.findings, draft.says("triggers", trigger.name)["with"], frozenset())


def _check_of(draft: Draft, trigger: EventTrigger) -> None:
    if trigger.of.split(".")[0] == draft.name:
        problem = f"{draft.name} would start itself for ever: let its own stages listen to the event with on:"
        draft.findings.add(draft.value("triggers", trigger.name, "of"), "CLAW024", problem)
    elif "." not in trigger.of:
        problem = f"{trigger.of!r} says no system: write system.event, such as dispatch.booking.confirmed"
        draft.findings.add(draft.value("triggers", trigger.name, "of"), "CLAW022", problem)


def _check_cron(draft: Draft, trigger: ScheduleTrigger) -> None:
    problem = ""
    if len(trigger.cron.split()) != 5:
        problem = "is not five fields: minute hour day month weekday"
    elif re.search(r"(?<![A-Z])L|W(?!ED)|[#?]", trigger.cron.upper()):
        problem = "has L, W, # or ?, which not every reader of cron knows: write numbers and names"
    else:
        try:
            next(CronSim(trigger.cron, datetime(2024, 1, 1, tzinfo=UTC)))
        except StopIteration:
            problem = "never comes"
        except CronSimError as error:
            reason = str(error)
            problem = f"is no cron expression: {reason[:1].lower()}{reason[1:]}"
    if problem:
        mark = draft.value("triggers", trigger.name, "cron")
        draft.findings.add(mark, "CLAW030", f"{trigger.cron[:80]!r} {problem}")


def _check_zone(draft: Draft, trigger: ScheduleTrigger) -> None:
    try:
        ZoneInfo(trigger.timezone)
    except (KeyError, ValueError, OSError):
        problem = f"{trigger.timezone[:80]!r} is no IANA time zone: write for example Europe/London"
        draft.findings.add(draft.value("triggers", trigger.name, "timezone"), "CLAW031", problem)


def _check_schema(draft: Draft, trigger: WebhookTrigger | ManualTrigger | QueueTrigger) -> None:
    if trigger.schema_file is None:
        return
    mark = draft.value("triggers", trigger.name, "schema")
    opened = draft.file(trigger.schema_file, mark)
    if opened is None:
        return
    from jsonschema import Draft202012Validator, SchemaError  # costs more than reading most files

    text, findings = opened
    try:
        schema = json.loads(text, parse_constant=_no_constant)
        Draft202012Validator.check_schema(schema)
    except json.JSONDecodeError as error:
        findings.add(
            Mark(error.lineno, error.colno), "CLAW035", f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
        )
    except (ValueError, RecursionError) as error:
        findings.add(Mark(), "CLAW035", f"not JSON: {str(error)[:200] or 'nested too deeply'}")
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "the top"
        findings.add(Mark(), "CLAW035", f"no JSON Schema, at {place}: {error.message[:200]}")
    else:
        _check_references(text, schema, findings)
        draft.schemas[trigger.schema_file] = schema if isinstance(schema, dict) else {}


def _check_paths(draft: Draft, trigger: WebhookTrigger | ManualTrigger | QueueTrigger) -> None:
    """The paths into the payload lead somewhere, as far as its schema tells."""
    schema = draft.schemas.get(trigger.schema_file or "")
    if schema is None:
        return
    if trigger.idempotency is not None:
        key = draft.says("triggers", trigger.name)["idempotency"]
        mark = key.value_mark(("key",))
        _check_path(draft, schema, trigger.idempotency.key, mark)
    if isinstance(trigger, WebhookTrigger | QueueTrigger) and trigger.requester is not None:
        mark = draft.value("triggers", trigger.name, "requester")
        kind = _check_path(draft, schema, trigger.requester, mark).get("type", "string")
        if kind not in ("string", "integer", "number") and "string" not in kind:
            problem = f"{trigger.requester} names nobody: the schema says that it is {shown(kind)}"
            draft.findings.add(mark, "CLAW014", problem)


def _check_path(draft: Draft, schema: dict[str, Any], path: str, mark: Mark) -> dict[str, Any]:
    """Return what the schema says of a path, as far as it tells; a finding when it leads nowhere."""
    inside: Any = schema
    parts = path.split(".")
    for index, part in enumerate(parts):
        if not isinstance(inside, dict) or _OPEN & inside.keys() or "properties" not in inside:
            return {}
        known = inside["properties"]
        if part not in known:
            where = f"{'.'.join(parts[:index])} has" if index else "the payload has"
            problem = f"{path!r} leads nowhere: by its schema {where} no {part}"
            allowed = [".".join([*parts[:index], word]) for word in known]
            draft.findings.add(mark, "CLAW014", problem, allowed=allowed, said=path)
            return {}
        inside = known[part]
    return inside if isinstance(inside, dict) and not _OPEN & inside.keys() else {}


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value")


def _check_references(text: str, schema: Any, findings: Findings) -> None:
    for found in re.finditer(r'"\$(?:dynamicRef|ref)"\s*:\s*"([^"]*)"', text):
        if found[1].startswith("#") and _leads_somewhere(schema, found[1]):
            continue
        before = text[: found.start()]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        where = "nowhere" if found[1].startswith("#") else "out of the file, and is not followed"
        findings.add(mark, "CLAW035", f"the $ref {found[1][:80]!r} leads {where}")


def _leads_somewhere(schema: Any, reference: str) -> bool:
    """Tell whether a reference such as `#/$defs/order` is to something in the schema."""
    for part in unquote(reference[1:]).split("/")[1:]:
        word = part.replace("~1", "/").replace("~0", "~")
        if isinstance(schema, dict) and word in schema:
            schema = schema[word]
        elif isinstance(schema, list) and word.isdecimal() and int(word[:9]) < len(schema):
            schema = schema[int(word[:9])]
        else:
            return False
    return reference == "#" or reference.startswith("#/")
