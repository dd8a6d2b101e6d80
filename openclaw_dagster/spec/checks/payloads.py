"""The payloads of scenarios: files in the system's folder that their triggers would let in."""

from __future__ import annotations

import json
from typing import Any, assert_never

from openclaw_dagster.spec.diagnostics import Findings, Mark
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.expressions import ExpressionError, ExpressionFailed, compile_expression
from openclaw_dagster.spec.reader import read
from openclaw_dagster.spec.scenarios import TICK
from openclaw_dagster.spec.triggers import (
    ConditionTrigger,
    EventTrigger,
    ManualTrigger,
    QueueTrigger,
    ScheduleTrigger,
    Trigger,
    WebhookTrigger,
)

CODE = "CLAW040"
NO_EVENT = ': event is a mapping, such as {"event": {"output": {"branch": "book"}}}'


class Payloads:
    """Reads the file of each payload once; what is right stays with the draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.triggers = {trigger.name: trigger for trigger in draft.triggers}
        self.opened: dict[str, tuple[str, Findings] | None] = {}

    def check(self, trigger: str, path: str, mark: Mark) -> None:
        """Add a finding when a file is no payload that the trigger would let in."""
        one = self.triggers.get(trigger)
        if isinstance(one, ScheduleTrigger):
            if path != TICK:
                problem = f"{trigger} is a moment of the clock, whose payload is known: write {TICK}"
                self.draft.findings.add(mark, CODE, problem)
        elif path == TICK:
            problem = f"{trigger} is no moment of the clock: name the file of its payload"
            self.draft.findings.add(mark, CODE, problem)
        elif (payload := self._payload(path, mark)) is not None and one is not None:
            self._fits(one, path, payload)

    def _payload(self, path: str, mark: Mark) -> dict[str, Any] | None:
        if path not in self.opened:
            self.opened[path] = self.draft.beside(path, mark)
            self._parse(path)
        return self.draft.fixtures.get(path)

    def _parse(self, path: str) -> None:
        opened = self.opened[path]
        if opened is None:
            return
        text, findings = opened
        try:
            payload = json.loads(text, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            said = f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
            findings.add(Mark(error.lineno, error.colno), CODE, said)
        except (ValueError, RecursionError) as error:
            findings.add(Mark(), CODE, f"not JSON: {str(error)[:200] or 'nested too deeply'}")
        else:
            if isinstance(payload, dict):
                self.draft.fixtures[path] = payload
            else:
                problem = 'a payload is a JSON object, such as {"order": {"id": "A-1"}}'
                findings.add(Mark(), CODE, problem)

    def _fits(self, trigger: Trigger, path: str, payload: dict[str, Any]) -> None:
        opened = self.opened[path]
        if opened is None:
            return
        text, findings = opened
        match trigger:
            case WebhookTrigger() | ManualTrigger() | QueueTrigger():
                problems = self._unfit(trigger, payload)
            case EventTrigger():
                problems = [] if isinstance(payload.get("event", {}), dict) else [(["event"], NO_EVENT)]
            case ConditionTrigger():
                problems = _untrue(trigger, payload)
            case ScheduleTrigger():
                problems = []
            case _:
                assert_never(trigger)
        for place, problem in problems:
            findings.add(_place(text, place), CODE, f"{trigger.name} would not let it in{problem}")

    def _unfit(
        self, trigger: WebhookTrigger | ManualTrigger | QueueTrigger, payload: dict[str, Any]
    ) -> list[tuple[list[str | int], str]]:
        """Return what its schema, or its key, has against a payload, and where."""
        schema = self.draft.schemas.get(trigger.schema_file or "")
        if schema:
            from jsonschema import Draft202012Validator  # costs more than reading most files

            errors = sorted(Draft202012Validator(schema).iter_errors(payload), key=lambda one: list(one.path))
            if errors:
                return [
                    (list(one.absolute_path), _said(list(one.absolute_path), one.message))
                    for one in errors[:10]
                ]
        key = trigger.idempotency
        if key is not None and not isinstance(_at(payload, key.path), str | int):
            return [([], f": it has no {key.key}, which is its key")]
        return []


def _said(path: list[str | int], message: str) -> str:
    return f", at {'/'.join(str(part) for part in path) or 'the top'}: {message[:200]}"


def _untrue(trigger: ConditionTrigger, payload: dict[str, Any]) -> list[tuple[list[str | int], str]]:
    """Return why a condition would start no case with the value that was read."""
    about = payload.get("condition")
    if not isinstance(about, dict) or "value" not in about:
        return [([], ': what was read stands under condition, such as {"condition": {"value": 400}}')]
    try:
        true = compile_expression(trigger.when).test({"value": about["value"]})
    except ExpressionError:
        return []  # that is told where the condition stands
    except ExpressionFailed as error:
        return [(["condition", "value"], f": {error}")]
    return [] if true else [(["condition", "value"], f": {trigger.when} is false for it")]


def _at(payload: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        payload = payload.get(part) if isinstance(payload, dict) else None
    return payload


def _place(text: str, path: list[str | int]) -> Mark:
    """Return where a value of a JSON file stands, as far as the text can be read as the YAML it mostly is."""
    node = read(text.encode(), Findings(""))
    return node.value_mark(tuple(path)) if node is not None else Mark()


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON value")
