"""One person's view of Dagster: what its pages offer, and whose name is on what is launched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from dagster import DagsterInstance, DagsterRun
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.instance.runs.run_domain import RunDomain
from dagster._core.storage.tags import PARENT_BACKFILL_ID_TAG
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.permissions import (
    LOCATION_SCOPED_PERMISSIONS,
    PermissionResult,
    Permissions,
)

from openclaw_dagster.errors import ClawError
from openclaw_dagster.runtime.tags import LAUNCHED_BY
from openclaw_dagster.web.access import permits
from openclaw_dagster.web.identity import Identity

#: Tags that begin like this are written by the host, never by who asks.
OURS = "claw/"


class TagRefused(ClawError):
    """The tag {tag} is set by the host and not by who launches a run: leave it out."""

    code = "CLAW530"


def stamped(tags: Mapping[str, Any] | None, known: Mapping[str, Any], person: str) -> dict[str, Any]:
    """Return tags with the name of who launches; TagRefused for one of ours that the host did not set before.

    `known` are tags that the host did set: those of the job, and of the run or backfill that is repeated.
    """
    for key, value in (tags or {}).items():
        if key.startswith(OURS) and key != LAUNCHED_BY and known.get(key) != value:
            raise TagRefused(tag=key[:100])
    return {**(tags or {}), LAUNCHED_BY: person}


class PersonRuns(RunDomain):
    """Makes runs in the name of one person."""

    def __init__(self, instance: PersonInstance) -> None:
        super().__init__(instance)
        self.view = instance

    def create_run(self, **said: Any) -> DagsterRun:
        """Make a run that says who launched it; every way to launch or repeat one comes through here."""
        snapshot = said.get("parent_job_snapshot") or said.get("job_snapshot")
        parent_id = said.get("parent_run_id")
        parent = self._instance.get_run_by_id(parent_id) if parent_id else None
        known = {**(snapshot.tags if snapshot else {})}
        if parent is not None and parent.job_name == said["job_name"]:
            known |= parent.tags
        tags = self.view.stamp(said.pop("tags", None), known)
        made = super().create_run(tags=tags, **said)
        self.view.made += 1
        return made


class PersonInstance(DagsterInstance):
    """The host's instance as one person has it; storages, launcher and coordinator are the host's own."""

    person: str
    refused: TagRefused | None  # what this request was refused for, which Dagster hides in its answer
    made: int  # runs and backfills that it made

    @classmethod
    def of(cls, instance: DagsterInstance, person: str) -> Self:
        """Return the instance in a person's name."""
        made = cls.__new__(cls)
        made.__dict__.update(instance.__dict__)
        made.__dict__.pop("run_domain", None)
        made.person = person
        made.refused = None
        made.made = 0
        return made

    def stamp(self, tags: Mapping[str, Any] | None, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return tags in the person's name; TagRefused for one that only the host sets."""
        try:
            return stamped(tags, known, self.person)
        except TagRefused as error:
            self.refused = error
            raise

    @cached_property
    def run_domain(self) -> RunDomain:
        """What makes runs."""
        return PersonRuns(self)

    def add_backfill(self, partition_backfill: PartitionBackfill) -> None:
        """Keep a backfill that says who launched it; its runs take its tags."""
        repeated = self.get_backfill(partition_backfill.tags.get(PARENT_BACKFILL_ID_TAG, ""))
        tags = self.stamp(partition_backfill.tags, repeated.tags if repeated else {})
        super().add_backfill(partition_backfill._replace(tags=tags))
        self.made += 1


class PersonContext(WorkspaceRequestContext):
    """What Dagster's resolvers see of a request: the workspace, with the permissions of who asks."""

    identity: Identity

    @classmethod
    def of(cls, process: WorkspaceProcessContext, source: object, identity: Identity) -> Self:
        """Return the context of one request."""
        made = cls(
            instance=PersonInstance.of(process.instance, identity.person),
            current_workspace=process.get_current_workspace(),
            process_context=process,
            version=process.version,
            source=source,
            read_only=False,
        )
        made.identity = identity
        return made

    @property
    def refused(self) -> TagRefused | None:
        """What the request was refused for by the tags it brought."""
        view = self.instance
        return view.refused if isinstance(view, PersonInstance) else None

    @property
    def made(self) -> int:
        """How many runs and backfills the request made."""
        view = self.instance
        return view.made if isinstance(view, PersonInstance) else 0

    @property
    def permissions(self) -> Mapping[str, PermissionResult]:
        """What Dagster's pages offer this person."""
        return {one: self._result(one) for one in Permissions}

    def permissions_for_location(self, *, location_name: str) -> Mapping[str, PermissionResult]:  # noqa: ARG002
        """What Dagster's pages offer this person in one code location: the same in each."""
        return {one: self._result(one) for one in LOCATION_SCOPED_PERMISSIONS}

    def _result(self, permission: Permissions) -> PermissionResult:
        enabled = permits(self.identity, permission.value)
        return PermissionResult(enabled, None if enabled else "Your level does not allow it")

    def get_viewer_tags(self) -> dict[str, str]:
        """Return the tags of who asks."""
        return {LAUNCHED_BY: self.identity.person}


def load_lazy_parts(instance: DagsterInstance) -> None:
    """Make what an instance makes when it is first asked, so that every view of it shares one of each."""
    _ = (instance.run_launcher, instance.run_coordinator, instance.compute_log_manager)
