"""Does an environment have what its systems need: bindings, constants, secrets?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openclaw_dagster.cli.place import shown_path
from openclaw_dagster.cli.sample import payload_names
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import NoSecret, read_settings
from openclaw_dagster.spec.diagnostics import Findings, Mark, SpecRefused
from openclaw_dagster.spec.environment import HttpBinding
from openclaw_dagster.spec.model import Decision, System
from openclaw_dagster.spec.reader import Node, read
from openclaw_dagster.spec.roles import check_roles
from openclaw_dagster.spec.runbooks import runbook_of
from openclaw_dagster.spec.triggers import WebhookTrigger
from openclaw_dagster.web.secrets import secret_name, secrets_of

CODE = "CLAW036"


def check_environment(project: Project, name: str) -> tuple[list[SpecRefused], list[SpecRefused]]:
    """Return what is wrong, and what is doubtful, with `environments/NAME.yaml` for these systems."""
    settings = read_settings(specs=str(project.specs), environment=name)
    shop = Workspace(settings, project=project)
    page = _Page(shown_path(settings.environment_file))
    for system in project.systems.values():
        _check_bindings(page, shop, system)
        _check_inputs(page, shop, system)
    _check_names(page, shop)
    check_roles(page.wrong, page.root or Node({}, Mark(), {}), shop.environment, project.systems.values())
    for secret, what in sorted(set(_unset(shop))):
        page.doubtful.add(
            page.mark("secrets", secret),
            CODE,
            f"the secret {secret} is not set here: {what}",
            hint=_place(shop, secret),
        )
    return page.refusals()


class _Page:
    """The environment file, with what is found wrong in it and what is only doubtful."""

    def __init__(self, path: Path) -> None:
        self.wrong, self.doubtful = Findings(str(path)), Findings(str(path))
        self.root: Node | None = read(path.read_bytes(), self.wrong)
        self.doubtful.source = self.wrong.source

    def mark(self, *path: str) -> Mark:
        """Return where a key stands, or the nearest one above it that is there."""
        node, mark = self.root, Mark()
        for part in path:
            if node is None or part not in node.keys:
                break
            mark, node = node.keys[part], node.step(part)
        return mark

    def refusals(self) -> tuple[list[SpecRefused], list[SpecRefused]]:
        """Return what was found as errors and as warnings."""
        return tuple([one.refusal()] if one.found else [] for one in (self.wrong, self.doubtful))  # type: ignore[return-value]


def _check_bindings(page: _Page, shop: Workspace, system: System) -> None:
    used: dict[str, list[str]] = {}
    for action in sorted(system.operations):
        if runbook_of(action) is None:
            used.setdefault(action.partition(".")[0], []).append(action)
    for adapter, actions in used.items():
        if adapter not in shop.environment.adapters:
            problem = f"{system.name} uses {', '.join(actions)}, and nothing is bound to {adapter}"
            hint = f"add under adapters: {adapter}: {{use: simulator}}, or {{use: http, url: https://…}}"
            page.wrong.add(page.mark("adapters"), CODE, problem, hint=hint)


def _check_names(page: _Page, shop: Workspace) -> None:
    for adapter in shop.environment.adapters:
        if adapter not in shop.project.contracts:
            problem = f"{adapter} is bound, and no contract has this name"
            mark = page.mark("adapters", adapter)
            page.wrong.add(mark, CODE, problem, allowed=shop.project.contracts, said=adapter)


def _check_inputs(page: _Page, shop: Workspace, system: System) -> None:
    inside = {one.name for one in system.decisions} | {one.name for one in system.execution}
    inside |= {one.name for one in system.data.sources}
    known = inside | set(shop.environment.constants)
    described = [payload_names(system, trigger) for trigger in system.triggers]
    for names in described:
        known |= names or set()
    for decision in system.decisions:
        for name in decision.inputs:
            if name in known:
                continue
            where = page.wrong if all(names is not None for names in described) else page.doubtful
            where.add(page.mark("constants"), CODE, _unprovided(system, decision, name), hint=_provide(name))


def _unprovided(system: System, decision: Decision, name: str) -> str:
    return f"nothing provides {name}, an input of {system.name}.{decision.name}"


def _provide(name: str) -> str:
    return (
        "add it under constants:, or read it under data.sources\n"
        f"if events carry it, name {name} in the trigger's schema"
    )


def _unset(shop: Workspace) -> Iterator[tuple[str, str]]:
    for system in shop.systems.values():
        for trigger in system.triggers:
            if isinstance(trigger, WebhookTrigger):
                try:
                    secrets_of(shop, system, trigger)
                except NoSecret:
                    yield (
                        secret_name(system, trigger),
                        f"the webhook {system.name}.{trigger.name} needs it, and the host does not start without",
                    )
    for adapter, binding in shop.environment.adapters.items():
        for name in credentials(binding):
            try:
                shop.secret(name)
            except NoSecret:
                yield name, f"{adapter} is called with it"


def credentials(binding: Any) -> list[str]:
    """Return the names of the secrets that a binding sends."""
    if not isinstance(binding, HttpBinding):
        return []
    return [*([binding.auth.bearer] if binding.auth.bearer else []), *binding.auth.header.values()]


def _place(shop: Workspace, name: str) -> str:
    source = shop.environment.secrets.get(name)
    if source is not None and source.file:
        return f"put it into the file {source.file}"
    return f"set the variable {(source.env if source else None) or name} where the system runs"
