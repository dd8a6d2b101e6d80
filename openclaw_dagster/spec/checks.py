"""The rules across layers: each check looks at the whole draft and adds what it finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from datetime import UTC, datetime

from openclaw_dagster.errors import ClawError
from openclaw_dagster.spec.coverage import find_gap, find_overlap
from openclaw_dagster.spec.diagnostics import Mark
from openclaw_dagster.spec.draft import Draft
from openclaw_dagster.spec.expressions import ExpressionError, compile_expression, compile_template
from openclaw_dagster.spec.model import Decision, EventTrigger, ManualTrigger, ScheduleTrigger, Step, WebhookTrigger

METRICS = frozenset({"error_rate", "trigger_to_start_p95", "triage_p95", "brief_on_time", "dead_letters"})
_LATENCY = re.compile(r"([a-z][a-z0-9_]*)_latency_p(50|95|99)\Z")
_ALERT = re.compile(r"([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*([0-9.]+(?:%|ms|s|m|h|d)?)(?:\s+for\s+([0-9]+(?:s|m|h)))?\Z")


def check_names(draft: Draft) -> None:
    """One name means one thing in a system."""
    seen: dict[str, str] = {}
    for layer, name in draft.places:
        if name in seen and seen[name] != layer:
            draft.findings.add(
                draft.mark(layer, name), "CLAW016", f"{name} is already the name of one of the {seen[name]}: expressions could not tell them apart"
            )
        seen.setdefault(name, layer)
        if name in ("payload", "case"):
            draft.findings.add(draft.mark(layer, name), "CLAW015", f"{name} is a word of the language: choose another name")


def check_triggers(draft: Draft) -> None:
    """Cron, time zone, schema and condition of every trigger."""
    for trigger in draft.triggers:
        match trigger:
            case ScheduleTrigger():
                _check_cron(draft, trigger)
            case WebhookTrigger() | ManualTrigger():
                _check_schema(draft, trigger)
            case EventTrigger():
                pass
        when = getattr(trigger, "when", None)
        if when is not None:
            expression(draft, when, None, draft.value("triggers", trigger.name, "when"))


def _check_cron(draft: Draft, trigger: ScheduleTrigger) -> None:
    mark = draft.value("triggers", trigger.name, "cron")
    if len(trigger.cron.split()) != 5:
        draft.findings.add(mark, "CLAW030", f"{trigger.cron!r} has not five fields: minute hour day month weekday")
    else:
        try:
            next(CronSim(trigger.cron, datetime(2024, 1, 1, tzinfo=UTC)))
        except (CronSimError, StopIteration) as error:
            reason = str(error) or "it never comes"
            draft.findings.add(mark, "CLAW030", f"{trigger.cron!r} is no cron expression: {reason[0].lower()}{reason[1:]}")
    try:
        ZoneInfo(trigger.timezone)
    except (KeyError, ValueError, OSError):
        draft.findings.add(
            draft.value("triggers", trigger.name, "timezone"), "CLAW031", f"{trigger.timezone!r} is no IANA time zone: write for example Europe/London"
        )


def _check_schema(draft: Draft, trigger: WebhookTrigger | ManualTrigger) -> None:
    from jsonschema import Draft202012Validator, SchemaError

    if trigger.schema_file is None:
        return
    mark = draft.value("triggers", trigger.name, "schema")
    text = draft.file(trigger.schema_file, mark)
    if text is None:
        return
    try:
        schema = json.loads(text)
        Draft202012Validator.check_schema(schema)
        if "$ref" in text and re.search(r'"\$ref"\s*:\s*"[^#]', text):
            raise ValueError("a $ref that leads out of the file is not followed")
        draft.schemas[trigger.schema_file] = schema if isinstance(schema, dict) else {}
    except (ValueError, SchemaError, RecursionError) as error:
        problem = getattr(error, "message", str(error))
        draft.findings.add(mark, "CLAW035", f"{trigger.schema_file} is no JSON Schema: {problem[:200]}")


def check_decisions(draft: Draft) -> None:
    """Each decision has one way of deciding, a clear start, and a table or policy that holds."""
    for decision in draft.decisions:
        mark = draft.mark("decisions", decision.name)
        if (decision.policy is None) == (decision.table is None):
            said = "neither" if decision.policy is None else "both"
            draft.findings.add(mark, "CLAW013", f"{decision.name} needs exactly one of policy and table; it has {said}")
        if not draft.starts(decision):
            choices = [trigger.name for trigger in draft.triggers]
            draft.findings.add(mark, "CLAW026", f"which trigger starts {decision.name}? Say it with on:", allowed=choices)
        if decision.table is not None:
            _check_table(draft, decision)
        elif decision.policy is not None:
            _check_policy(draft, decision)


def _check_policy(draft: Draft, decision: Decision) -> None:
    mark = draft.value("decisions", decision.name, "policy")
    assert decision.policy is not None
    if not decision.policy.endswith((".ts", ".py")):
        draft.findings.add(mark, "CLAW029", f"{decision.policy} is no kind of policy", allowed=(".ts", ".py", ".table.yaml"))
        return
    source = draft.file(decision.policy, mark)
    if source is None:
        return
    try:
        draft.check_policy(decision.policy.removeprefix("./"), source)
    except ClawError as error:
        draft.findings.add(mark, "CLAW029", str(error))


def _check_table(draft: Draft, decision: Decision) -> None:
    rows = decision.table or ()
    inline = decision.policy is None and ("decisions", decision.name) in draft.places
    base: tuple[Any, ...] = ("table",)

    def place(index: int, *keys: str) -> Mark:
        return draft.value("decisions", decision.name, *(base + (index, *keys) if inline else ("policy",)))

    conditions: list[str] = []
    broken = False
    for index, row in enumerate(rows):
        if (row.when is None) == (row.otherwise is None):
            draft.findings.add(place(index), "CLAW013", f"row {index + 1} needs exactly one of when and else")
            broken = True
        elif row.when is not None:
            broken |= expression(draft, row.when, frozenset(decision.inputs), place(index, "when")) is None
            conditions.append(row.when)
        elif index != len(rows) - 1:
            draft.findings.add(place(index), "CLAW028", "else is the last row: nothing after it could ever be decided")
            broken = True
    if not broken and rows:
        _check_coverage(draft, decision, conditions, place)


def _check_coverage(draft: Draft, decision: Decision, conditions: list[str], place: Callable[..., Mark]) -> None:
    rows = decision.table or ()
    try:
        overlap = find_overlap(conditions)
        gap = None if rows[-1].otherwise else find_gap(conditions)
    except ClawError as error:
        draft.findings.add(place(0), "CLAW028", str(error))
        return
    if overlap is not None:
        first, second, example = overlap
        draft.findings.add(
            place(second, "when"), "CLAW028", f"rows {first + 1} and {second + 1} are both true for {example}", hint="add to one row what the other does not say"
        )
    if gap is not None:
        draft.findings.add(
            place(len(rows) - 1), "CLAW027", f"no row decides {gap}", hint="add a row for it, or end with {else: true, then: …}"
        )


def check_steps(draft: Draft) -> None:
    """Actions exist, effects are honest, arguments and expressions fit."""
    names = draft.known_names()
    step_names = [step.name for step in draft.steps]
    for step in draft.steps:
        for index, need in enumerate(step.needs):
            if need not in step_names:
                draft.findings.add(
                    draft.value("execution", step.name, "needs", index), "CLAW025", f"{need!r} is no step", allowed=step_names, said=need
                )
        if step.when is not None:
            expression(draft, step.when, names, draft.value("execution", step.name, "when"))
        if step.arguments is not None:
            template(draft, step.arguments, names, ("execution", step.name))
        _check_action(draft, step)


def _check_action(draft: Draft, step: Step) -> None:
    operation = action(draft, step.action, draft.value("execution", step.name, "action"))
    if operation is None:
        return
    effect = step.effect or operation.effect
    order = ("read", "write", "irreversible")
    mark = draft.value("execution", step.name, "effect" if step.effect else "action")
    if order.index(effect) < order.index(operation.effect):
        draft.findings.add(mark, "CLAW032", f"{step.action} is {operation.effect}; the step calls it {effect}, which it is not")
    if effect == "irreversible":
        draft.findings.add(mark, "CLAW032", f"{step.name} cannot be taken back, so it needs an approval; this version has no approvals yet")
    adapter = step.action.split(".")[0]
    if step.unknown_outcome is not None:
        _check_partner(draft, step, step.unknown_outcome.verify, ("unknown_outcome", "verify"), adapter, reads=True)
    if step.undo is not None:
        _check_partner(draft, step, step.undo, ("undo",), adapter, reads=False)
    if step.arguments is not None and operation.input is not None:
        _check_arguments(draft, step, operation.input)


def _check_partner(draft: Draft, step: Step, name: str, path: tuple[str, ...], adapter: str, *, reads: bool) -> None:
    mark = draft.value("execution", step.name, *path)
    partner = action(draft, name, mark)
    if partner is None:
        return
    if reads != (partner.effect == "read"):
        draft.findings.add(mark, "CLAW033", f"{name} {'writes; verify only asks' if reads else 'only reads; undo takes something back'}")
    elif name.split(".")[0] != adapter:
        draft.findings.add(mark, "CLAW033", f"{name} belongs to another adapter than {step.action}")


def _check_arguments(draft: Draft, step: Step, schema: dict[str, Any]) -> None:
    given = step.arguments or {}
    mark = draft.mark("execution", step.name, "with")
    for name in schema.get("required", []):
        if name not in given:
            draft.findings.add(mark, "CLAW034", f"{step.action} needs the argument {name!r}")
    if schema.get("additionalProperties") is False:
        known = schema.get("properties", {})
        for name in given.keys() - known.keys():
            place = draft.mark("execution", step.name, "with", name)
            draft.findings.add(place, "CLAW034", f"{step.action} takes no argument {name!r}", allowed=known, said=name)


def check_data(draft: Draft) -> None:
    """Sources read, and only read."""
    for source in draft.data.sources if draft.data else ():
        mark = draft.value("sources", source.name, "read")
        operation = action(draft, source.read, mark)
        if operation is not None and operation.effect != "read":
            draft.findings.add(mark, "CLAW032", f"{source.read} writes; a source only reads")
        template(draft, source.arguments, None, ("sources", source.name))


def check_observability(draft: Draft) -> None:
    """Objectives and alerts are about metrics that exist, with quantities that fit them."""
    layer = draft.observability
    if layer is None:
        return
    if not layer.slo and not layer.alerts:
        draft.findings.add(draft.root.keys["observability"], "CLAW011", "observability promises nothing: name an objective under slo")
    for metric in layer.slo:
        _check_metric(draft, metric, draft.root.mark_of(("observability", "slo", metric)))
    for index, alert in enumerate(layer.alerts):
        mark = draft.root.value_mark(("observability", "alerts", index, "on"))
        found = _ALERT.match(alert.on)
        if found is None:
            draft.findings.add(mark, "CLAW017", f"{alert.on!r} is no alert: write metric op quantity, such as error_rate > 1% for 5m")
        else:
            _check_metric(draft, found[1], mark)


def _check_metric(draft: Draft, metric: str, mark: Mark) -> None:
    if metric in METRICS:
        return
    known = METRICS | {f"{draft.name}_latency_p95"}
    found = _LATENCY.match(metric)
    if found is None or found[1] != draft.name:
        draft.findings.add(mark, "CLAW014", f"{metric!r} is no metric of this system", allowed=known, said=metric)


def action(draft: Draft, name: str, mark: Mark) -> Any:
    """Return the contract of an action; a finding when no adapter has it."""
    operation = draft.operation(name)
    if operation is None:
        adapter = name.split(".")[0]
        same = [known for known in draft.catalog if known.startswith(adapter + ".")]
        draft.findings.add(
            mark, "CLAW023", f"no adapter has the action {name!r}", allowed=same or draft.catalog, said=name,
            hint="" if same else f"describe it in adapters/{adapter}.yaml: claw adapter new {adapter}",
        )  # fmt: skip
    return operation


def expression(draft: Draft, text: str, names: frozenset[str] | None, mark: Mark) -> Any:
    """Return the compiled expression; a finding at its place when it is not right."""
    try:
        return compile_expression(text, names)
    except ExpressionError as error:
        _report(draft, error, mark)
        return None


def template(draft: Draft, value: dict[str, Any], names: frozenset[str] | None, owner: tuple[str, str]) -> Any:
    """Check the `with` of a step or source, argument by argument, so that each problem has its own place."""
    for key, part in value.items():
        try:
            compile_template(part, names)
        except ExpressionError as error:
            _report(draft, error, draft.value(*owner, "with", key))


def _report(draft: Draft, error: ExpressionError, mark: Mark) -> None:
    draft.findings.add(mark, "CLAW021", str(error))


CHECKS: tuple[Callable[[Draft], None], ...] = (
    check_names,
    check_triggers,
    check_decisions,
    check_steps,
    check_data,
    check_observability,
)
