"""What each thing takes, and documents whatever way they are written: nothing of Dagster's is overlooked."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from dagster._core.workspace.permissions import Permissions
from dagster_graphql.schema import create_schema
from graphql import GraphQLObjectType, get_named_type

from openclaw_dagster.spec.environment import Environment
from openclaw_dagster.spec.login import Level
from openclaw_dagster.web.access import FIELDS, MUTATIONS, NOBODY, PERMISSIONS, Allowed, Doing, Refused, may
from openclaw_dagster.web.documents import BY_GET, BY_LINE, MOST_DEEP, Document, judge, read_document
from openclaw_dagster.web.identity import LOCAL, Identity, describe, person_of, with_implied


def somebody(*levels: Level) -> Identity:
    return Identity("kim", "Kim", with_implied(frozenset(levels)), "session")


VIEWER, OPERATOR, ADMIN = somebody("viewer"), somebody("operator"), somebody("admin")
LAUNCH = "mutation { launchRun(executionParams: {}) { __typename } }"


def test_every_mutation_of_dagster_was_looked_at() -> None:
    schema = create_schema().graphql_schema
    assert schema.mutation_type is not None
    assert set(schema.mutation_type.fields) == set(MUTATIONS)
    assert {one.value for one in Permissions} == set(PERMISSIONS)


def test_every_field_that_evaluates_a_tick_was_looked_at() -> None:
    """Such a field runs the schedule or the sensor, so that a query would open cases."""
    types = create_schema().graphql_schema.type_map.values()
    fields = [
        (name, get_named_type(one.type).name)
        for kind in types
        if isinstance(kind, GraphQLObjectType)
        for name, one in kind.fields.items()
    ]
    for wanted in ("TickEvaluation", "CapturedLogs", "CapturedLogsMetadata"):
        found = {name for name, kind in fields if kind == wanted}
        assert found, wanted
        assert found <= FIELDS.keys()


@pytest.mark.parametrize(
    "query",
    [
        "{ a { b { x: evaluationResult { c } } } }",
        "{ a { ...F } } fragment F on T { b { evaluationResult { c } } }",
        "query A { version } query B { ... { a { ... on T { evaluationResult { c } } } } }",
        "subscription { a { evaluationResult { c } } }",
    ],
)
def test_a_tick_is_tried_out_by_nobody(query: str) -> None:
    found = read_document(query)
    assert isinstance(found, Document)
    assert judge(ADMIN, found) == Refused("the field evaluationResult is closed here, for everybody")


def test_what_runs_printed_is_for_readers() -> None:
    found = read_document('{ capturedLogs(logKey: ["x"]) { stdout } }')
    assert isinstance(found, Document)
    assert isinstance(judge(VIEWER, found), Refused)
    assert isinstance(judge(OPERATOR, found), Allowed)
    assert isinstance(judge(somebody("auditor"), found), Allowed)


def test_levels_include_others() -> None:
    assert with_implied(frozenset({"admin"})) == {"admin", "operator", "viewer"}
    assert all("viewer" in with_implied(frozenset({level})) for level in get_args(Level))
    # who administers does not approve by that; who approves operates nothing; auditors change nothing
    assert "approver" not in with_implied(frozenset({"admin"})) | LOCAL.levels
    assert "operator" not in with_implied(frozenset({"approver", "auditor"}))


def test_a_refusal_says_what_is_needed() -> None:
    verdict = may(
        VIEWER, Doing("looking", frozenset({"viewer"})), Doing("launching", frozenset({"operator"}))
    )
    assert verdict == Refused("launching needs the level operator; Kim has viewer")
    assert isinstance(may(ADMIN, Doing("the door", NOBODY)), Refused)
    assert isinstance(may(somebody(), Doing("looking", frozenset({"viewer"}))), Refused)


@pytest.mark.parametrize(
    ("query", "mutations"),
    [
        ("{ version }", set()),
        (LAUNCH, {"launchRun"}),
        ("mutation { a: deleteRun(runId: 1) { __typename } }", {"deleteRun"}),
        ("query A { version } mutation B { wipeAssets { __typename } }", {"wipeAssets"}),
        ("mutation { ...F } fragment F on Mutation { ...G } fragment G on Mutation { deleteRun { a } }", {"deleteRun"}),
        ("mutation { ... on Mutation { ... { deleteRun { a } } } launchRun { a } }", {"deleteRun", "launchRun"}),
        ("mutation { deleteRun @skip(if: true) { a } __typename }", {"deleteRun"}),
        ("mutation { ...F } fragment F on Mutation { ...F launchRun { a } }", None),
    ],
)  # fmt: skip
def test_mutations_are_found_wherever_they_hide(query: str, mutations: set[str] | None) -> None:
    found = read_document(query)
    if mutations is None:
        assert isinstance(found, Refused)
    else:
        assert isinstance(found, Document)
        assert found.mutations == mutations


def test_every_operation_of_a_document_is_judged() -> None:
    both = read_document("query A { version } mutation B { deleteRun(runId: 1) { __typename } }")
    assert isinstance(both, Document)
    assert isinstance(judge(OPERATOR, both), Refused)
    assert isinstance(judge(ADMIN, both), Allowed)
    assert judge(ADMIN, both, takes=BY_GET) == Refused("this way takes no mutation", 405)
    assert judge(ADMIN, both, takes=BY_LINE) == Refused("this way takes no mutation", 405)
    assert isinstance(judge(OPERATOR, both, takes=BY_GET), Refused)


def test_a_mutation_that_nobody_looked_at_is_for_admins() -> None:
    new = read_document("mutation { launchRun { a } emptyTheMoon { a } }")
    assert isinstance(new, Document)
    assert isinstance(judge(OPERATOR, new), Refused)
    assert isinstance(judge(ADMIN, new), Allowed)


def deep(levels: int) -> str:
    return "{ a" * levels + " }" * levels


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (None, 400),
        (["{ version }"], 400),
        ("", 400),
        ("mutation {", 400),
        ("{ version } }", 400),
        (deep(MOST_DEEP + 1), 413),
        (deep(100_000), 413),
        ("{ a(b: " + "[" * 5_000 + "]" * 5_000 + ") }", 413),
        ("{ " + "a " * 20_001 + "}", 400),
        ("#" * 200_001, 413),
        (" ".join(f"fragment F{n} on A {{ a {{ ...F{m} }} }}" for n, m in pairwise(range(60))) + " { ...F0 }", 413),
        # each fragment doubles the one below it: a short document, an endless answer
        ("fragment F0 on A { a } " + " ".join(
            f"fragment F{n + 1} on A {{ a {{ ...F{n} }} b {{ ...F{n} }} }}" for n in range(45)) + " { ...F45 }", 413),
    ],
)  # fmt: skip
def test_a_document_that_is_none_or_too_big_is_refused(query: object, status: int) -> None:
    found = read_document(query)
    assert isinstance(found, Refused)
    assert found.status == status


def test_a_document_as_deep_as_may_be_is_read() -> None:
    assert isinstance(read_document(deep(MOST_DEEP)), Document)


ENVIRONMENT = Environment.model_validate(
    {
        "people": {
            "ann": {"email": "Ann@Example.com"},
            "bob": {"email": "bob@example.com", "sub": "sub-of-bob"},
        },
        "roles": {"finance": {"people": ["ann"]}, "warehouse": {"people": ["bob"]}},
        "access": {
            "viewer": {"groups": ["staff"]},
            "approver": {"people": ["ann"]},
            "admin": {"groups": ["ops", "sre"]},
        },
    }
)


def test_people_are_known_by_account_or_address() -> None:
    assert person_of(ENVIRONMENT, email="ann@example.COM", sub="whatever") == "ann"
    assert person_of(ENVIRONMENT, email="new@example.com", sub="sub-of-bob") == "bob"
    # somebody else at the provider who took over the address is not Bob
    assert person_of(ENVIRONMENT, email="bob@example.com", sub="another") is None
    # a proxy says addresses and no accounts
    assert person_of(ENVIRONMENT, email="bob@example.com") == "bob"
    assert person_of(ENVIRONMENT, email=None, sub="nobody") is None


def test_levels_come_from_names_and_groups_and_roles_from_the_environment() -> None:
    ann = describe(ENVIRONMENT, "ann", "session", groups=frozenset({"sre", "tennis"}))
    assert ann is not None
    assert ann.levels == {"approver", "admin", "operator", "viewer"}
    assert ann.roles == {"finance"}
    guest = describe(ENVIRONMENT, "guest@example.com", "session", name="A Guest", groups=frozenset({"staff"}))
    assert guest is not None
    assert (guest.name, guest.levels, guest.roles) == ("A Guest", {"viewer"}, frozenset())
    assert describe(ENVIRONMENT, "carl", "session", groups=frozenset({"ops"})) is None
