"""The observability layer: objectives and alerts about metrics that exist, with quantities that fit them."""

from __future__ import annotations

import re

from openclaw_dagster.spec.diagnostics import Mark
from openclaw_dagster.spec.draft import Draft

#: What each metric is measured in.
METRICS = {
    "error_rate": "%",
    "trigger_to_start_p95": "time",
    "triage_p95": "time",
    "brief_on_time": "%",
    "dead_letters": "count",
}
_FITTING = {"%": "a share such as <0.5%", "time": "a duration such as 500ms", "count": "a number such as 10"}
_LATENCY = re.compile(r"([a-z][a-z0-9_]*)_latency_p(50|95|99)\Z")
_ALERT = re.compile(
    r"([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?)(%|ms|s|m|h|d)?(?:\s+for\s+[0-9]+(?:s|m|h|d))?\Z"
)
_BOUND = re.compile(r"(?:<=|>=|<|>)?[0-9.]+(%|ms|s|m|h|d)\Z")


def check_observability(draft: Draft) -> None:
    """Objectives and alerts are about metrics that exist, with quantities that fit them."""
    layer = draft.observability
    node = draft.root.at(("observability",))
    if layer is None or node is None:
        return
    if not any(node.value[word].value for word in ("slo", "alerts") if word in node.value):
        problem = "observability promises nothing: name an objective under slo"
        draft.findings.add(draft.root.keys["observability"], "CLAW011", problem)
    for metric, bound in layer.slo.items():
        path = ("observability", "slo", metric)
        unit = _BOUND.match(bound)
        _check_metric(
            draft, metric, unit[1] if unit else "", draft.root.mark_of(path), draft.root.value_mark(path)
        )
    for index, alert in enumerate(layer.alerts):
        _check_alert(draft, alert.on, draft.root.value_mark(("observability", "alerts", index, "on")))


def _check_alert(draft: Draft, text: str, mark: Mark) -> None:
    found = _ALERT.match(text)
    if found is None:
        problem = f"{text[:80]!r} is no alert: write metric op quantity, such as error_rate > 1% for 5m"
        draft.findings.add(mark, "CLAW017", problem)
    elif found[4] == "%" and float(found[3]) > 100:
        draft.findings.add(mark, "CLAW017", f"{found[3]}% is more than everything: a share is at most 100%")
    else:
        _check_metric(draft, found[1], found[4] or "", mark, mark)


def _check_metric(draft: Draft, metric: str, unit: str, mark: Mark, value: Mark) -> None:
    latency = _LATENCY.match(metric)
    kind = "time" if latency and latency[1] == draft.name else METRICS.get(metric)
    if kind is None and latency and not draft.name:
        return  # the system's name is what is wrong
    if kind is None:
        known = [*METRICS, *(f"{draft.name}_latency_p{share}" for share in (50, 95, 99) if draft.name)]
        problem = f"{metric!r} is no metric of this system"
        draft.findings.add(mark, "CLAW014", problem, allowed=known, said=metric)
    elif kind != {"%": "%", "": "count"}.get(unit, "time"):
        draft.findings.add(value, "CLAW017", f"{metric} is not measured so: write {_FITTING[kind]}")
