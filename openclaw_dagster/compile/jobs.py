"""A system as one Dagster job: an op for each decision and step, and one that closes its cases."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from openclaw_dagster.runtime import tags
from openclaw_dagster.runtime.advance import close, hold, pass_stage
from openclaw_dagster.runtime.batch import Batch
from openclaw_dagster.runtime.refusals import note
from openclaw_dagster.runtime.workspace import Workspace
from openclaw_dagster.spec.model import Stage, System
from openclaw_dagster.spec.units import format_duration
from openclaw_dagster.store.case import Case
from openclaw_dagster.warm.limits import pool_of

#: How many cases a run's page names one by one.
MOST_NAMED = 50


def _quiet(_context: dg.InitLoggerContext) -> logging.Logger:
    """Keep a run's events off the console, where a line each costs more than writing them."""
    logger = logging.Logger("claw.run", logging.CRITICAL)
    logger.addHandler(logging.NullHandler())
    return logger


#: Every event is on the run's page; the console hears nothing.
quiet = dg.LoggerDefinition(
    _quiet, description="Says nothing on the console: every event is on the run's page."
)


@dataclass(frozen=True)
class Refusal:
    """Why a run gets no cases."""

    why: str


def job_of(shop: Workspace, system: System) -> dg.JobDefinition:
    """Return the job whose graph is the system's runbook and whose runs move claimed cases through it."""
    nodes = [_stage_op(shop, system, stage) for stage in system.stages]
    after = {name for stage in system.stages for name in stage.after}
    leaves = [stage.name for stage in system.stages if stage.name not in after]
    nodes.append(_close_op(shop, system, leaves))
    graph = dg.GraphDefinition(
        name=system.name,
        description=f"{system.name} {system.version}: {len(system.decisions)} decisions, {len(system.execution)} steps.",
        node_defs=nodes,
        dependencies=_edges(system, leaves),
    )
    return graph.to_job(
        name=system.name,
        executor_def=dg.in_process_executor,
        logger_defs={"console": quiet},
        resource_defs={"cases": _cases(shop)},
        tags={tags.SYSTEM: system.name},
        metadata={"version": system.version, "digest": system.digest, "file": system.path},
    )


def _edges(system: System, leaves: Sequence[str]) -> dict[Any, dict[str, dg.DependencyDefinition]]:
    def needs(names: Sequence[str]) -> dict[str, dg.DependencyDefinition]:
        return {f"after_{name}": dg.DependencyDefinition(name, "cases") for name in names}

    edges: dict[Any, dict[str, dg.DependencyDefinition]] = {
        dg.NodeInvocation(f"{system.name}__{stage.name}", alias=stage.name): needs(stage.after)
        for stage in system.stages
    }
    edges[dg.NodeInvocation(f"{system.name}__close", alias="close")] = needs(leaves)
    return edges


def _cases(shop: Workspace) -> dg.ResourceDefinition:
    """The cases a run holds: taken once, when the run begins, whatever part of the graph it runs."""

    def take(context: dg.InitResourceContext) -> Batch | Refusal:
        run = context.run
        claim = run.tags.get(tags.CLAIM) if run else None
        if run is None or claim is None:
            return _refuse(
                shop,
                run,
                "This run holds no claim, so it has no case to move. "
                "Cases begin with events: post to the webhook, or use `claw send`.",
            )
        batch = hold(shop, claim, run_id=run.run_id, host=socket.gethostname())
        if not batch.cases and run.parent_run_id:
            return _refuse(
                shop,
                run,
                "The cases of this run have gone on without it, and nothing is done twice. "
                "Dead letters are redriven with `claw dlq redrive`.",
            )
        return batch

    return dg.ResourceDefinition(take, description="The cases this run holds, by its claim.")


def _refuse(shop: Workspace, run: dg.DagsterRun | None, why: str) -> Refusal:
    """Refuse a run its cases, and write it down: somebody may have tried to get past a checkpoint."""
    if run is not None:
        about = {"run": run.run_id, "job": run.job_name, "ops": ", ".join(run.op_selection or ())[:400]}
        parent = {"parent": run.parent_run_id} if run.parent_run_id else {}
        note(shop, "run", why, person=run.tags.get(tags.LAUNCHED_BY, ""), about=about | parent)
    return Refusal(why)


def _batch(context: dg.OpExecutionContext) -> Batch:
    """Return the run's cases; Failure, said in one sentence on the run's page, when it may not have any."""
    held: Batch | Refusal = context.resources.cases
    if isinstance(held, Refusal):
        raise dg.Failure(held.why, allow_retries=False)
    return held


def _stage_op(shop: Workspace, system: System, stage: Stage) -> dg.OpDefinition:
    def body(context: dg.OpExecutionContext) -> Iterator[dg.Output[None]]:
        batch = _batch(context)
        passed = pass_stage(batch, stage.name)
        for case in passed.took_part:
            context.log.info(_line(batch, case, stage))
        waits = [now for one in passed.took_part if (now := _waiting(batch, one, stage)) is not None]
        if waits:
            context.instance.add_run_tags(context.run_id, {tags.WAITING: stage.name})
            yield dg.Output(None, "waiting", metadata=_requests(shop, waits, stage))
        if passed.going:
            yield dg.Output(None, "cases", metadata=_metadata(shop, batch, passed.took_part))

    return dg.OpDefinition(
        compute_fn=lambda context, _inputs: body(context),
        name=f"{system.name}__{stage.name}",
        description=_describe(system, stage),
        ins={f"after_{name}": dg.In(dg.Nothing) for name in stage.after},
        outs=_outs(system, stage),
        required_resource_keys={"cases"},
        tags={"claw/kind": _kind(system, stage)},
        pool=pool_of(system, stage),
    )


def _kind(system: System, stage: Stage) -> str:
    step = system.step(stage.name) if stage.kind == "step" else None
    if step is None:
        return stage.kind
    return "checkpoint" if step.checkpoint is not None else "runbook" if step.runbook is not None else "step"


def _outs(system: System, stage: Stage) -> dict[str, dg.Out]:
    outs = {"cases": dg.Out(dg.Nothing, is_required=False, description="The cases that go on.")}
    if _kind(system, stage) in ("checkpoint", "runbook"):
        outs["waiting"] = dg.Out(
            dg.Nothing,
            is_required=False,
            description="The cases that wait, for people or for what they began; nobody runs on for them.",
        )
    return outs


def _waiting(batch: Batch, case: Case, stage: Stage) -> Case | None:
    """Return the case as it is now, when it waits at the stage: for people, or for the cases that it began."""
    now = batch.left.get(case.id)
    fact = now.facts.steps.get(stage.name) if now else None
    if now is None or (stage.name not in now.facts.waits_at and (fact is None or fact.state != "under_way")):
        return None
    return now


def _requests(shop: Workspace, cases: Sequence[Case], stage: Stage) -> dict[str, Any]:
    """Return the links to the pages on which people answer, or see what is waited for."""
    found: dict[str, Any] = {"waiting": len(cases)}
    for case in cases[:MOST_NAMED]:
        asks = stage.name in case.facts.waits_at
        page = f"checkpoints/{case.id}/{stage.name}" if asks else f"cases/{case.id}"
        found[case.key[:200]] = dg.MetadataValue.url(f"{shop.settings.public_url}/claw/{page}")
    return found


def _close_op(shop: Workspace, system: System, leaves: Sequence[str]) -> dg.OpDefinition:
    def body(context: dg.OpExecutionContext) -> Iterator[dg.Output[None]]:
        batch = _batch(context)
        ended = batch.going()
        close(batch)
        dead = [case for case in batch.left.values() if case.state == "dead_lettered"]
        if dead:
            reasons = "; ".join(f"{case.id}: {case.reason}" for case in dead[:5])
            raise dg.Failure(
                f"{len(dead)} of {len(ended)} cases went to the dead letters: {reasons}",
                metadata=_metadata(shop, batch, dead),
                allow_retries=False,
            )
        yield dg.Output(None, "ended", metadata=_metadata(shop, batch, ended))

    return dg.OpDefinition(
        compute_fn=lambda context, _inputs: body(context),
        name=f"{system.name}__close",
        description="Ends each case: completed, or taken back and put with the dead letters.",
        ins={f"after_{name}": dg.In(dg.Nothing) for name in leaves},
        outs={"ended": dg.Out(dg.Nothing, is_required=False)},
        required_resource_keys={"cases"},
        tags={"claw/kind": "close"},
    )


def _describe(system: System, stage: Stage) -> str:
    if stage.kind == "decision":
        decision = system.decision(stage.name)
        way = decision.policy or f"a table of {len(decision.table or ())} rows"
        emits = f", emits {decision.emits}" if decision.emits else ""
        return f"Decides by {way} from {', '.join(decision.inputs)}{emits}."
    step = system.step(stage.name)
    if step.runbook is not None:
        each = f" for each item of {step.foreach}" if step.foreach else ""
        return f"Begins a case of {step.runbook}{each} on {step.on}, and waits until all have ended."
    return f"Does {step.action} on {step.on}; {step.retries.max} retries, at most {format_duration(step.timeout)} each."


def _metadata(shop: Workspace, batch: Batch, cases: Sequence[Case]) -> dict[str, Any]:
    found: dict[str, Any] = {"cases": len(cases)}
    for case in cases[:MOST_NAMED]:
        now = batch.cases.get(case.id) or batch.left.get(case.id, case)
        found[f"{case.key} ({now.state})"[:200]] = dg.MetadataValue.url(
            f"{shop.settings.public_url}/claw/cases/{case.id}"
        )
    return found


def _line(batch: Batch, case: Case, stage: Stage) -> str:
    if case.id in batch.lost:
        return f"{case.id}: held by another run by now; this one wrote nothing"
    now = batch.cases.get(case.id) or batch.left[case.id]
    if stage.kind == "decision" and stage.name in now.facts.decisions:
        return f"{case.id}: {now.facts.decisions[stage.name].reason}"
    fact, gate = now.facts.steps.get(stage.name), now.facts.gates.get(stage.name)
    if gate is not None and gate.open:
        return f"{case.id}: {stage.name} waits for {' or '.join(gate.roles)}"
    if fact is not None and fact.state == "under_way":
        return f"{case.id}: {now.reason or f'the cases that {stage.name} began have ended'}"
    said = f"{stage.name} {fact.state}" if fact else f"{stage.name} failed: {now.facts.why}"
    return f"{case.id}: {said}" + (f" ({fact.error})" if fact and fact.error else "")
