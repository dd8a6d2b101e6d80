"""`ClawSystem`: drops a `.claw` file into any Dagster project's `defs/` folder."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from openclaw_dagster.compile.system import compile_system
from openclaw_dagster.runtime.workspace import Project, Workspace
from openclaw_dagster.settings import read_settings


class ClawSystem(dg.Component, dg.Model, dg.Resolvable):
    """One operational system, written in a `.claw` file, as a job with its dispatch sensor and schedules."""

    spec: str
    """Path of the `.claw` file, relative to the component's folder."""

    environment: str = "development"
    """Which file of the `environments` folder beside the `.claw` file applies."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions of the system; an error with every problem when its file is not right."""
        path = (Path(context.path) / self.spec).resolve()
        project = Project(path.parent, only=path)
        for refused in project.refused:
            raise dg.DagsterInvalidDefinitionError("\n" + refused.render())
        shop = Workspace(read_settings(specs=str(path.parent), environment=self.environment), project=project)
        (system,) = shop.systems.values()
        return compile_system(shop, system)
