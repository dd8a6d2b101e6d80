"""The JSON Schema for editors says what the models say: it takes what is good and refuses what it can see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from openclaw_dagster.spec.build import names_of
from openclaw_dagster.spec.diagnostics import Findings
from openclaw_dagster.spec.layers import BLOCKS, LAYERS
from openclaw_dagster.spec.reader import read
from openclaw_dagster.spec.schema import MODELS, json_schema

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
#: Of these codes a schema sees every case: layers, keys, kinds of values, names, quantities, places.
SEEN = {"CLAW010", "CLAW011", "CLAW012", "CLAW013", "CLAW014", "CLAW015", "CLAW017", "CLAW018", "CLAW019"}
#: What of them takes more than a schema: words that are taken, metrics, and which unit goes where.
UNSEEN = {
    "condition_often",
    "queue_address",
    "alert_form",
    "alert_metric",
    "bound_over_100",
    "bound_wrong_unit",
    "duration_century",
    "gate_deadline_too_short",
    "gate_remind_zero",
    "head_keyword",
    "metric_of_another_system",
    "metric_unknown",
    "name_cel_word",
    "name_close",
    "name_dispatch_trigger",
    "name_payload",
    "observability_empty_promises",
    "place_dead_letter_slack",
    "requester_nowhere",
    "requester_object",
    "requester_root",
    "skip_expires_long",
    "skip_expires_zero",
    "skip_policy_never",
    "table_file_mapping",
    "table_file_row",
    "trigger_idempotency_nowhere",
}


def says(path: Path) -> Any:
    """Return what a file says as plain data, None when it is not YAML."""
    findings = Findings(path.name)
    node = read(path.read_bytes(), findings)
    return None if node is None or findings.found else node.plain()


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "claw_specs").glob("*.claw")), ids=lambda path: path.name)
def test_a_good_file_is_good(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(says(path))] == []


def test_the_stubs_are_good() -> None:
    text = "system: pasted\nversion: 1\n" + "\n".join(LAYERS.values())
    node = read(text.encode(), Findings("stubs"))
    assert node is not None
    assert VALIDATOR.is_valid(node.plain())


def broken() -> Iterator[str]:
    for path in sorted(CORPUS.glob("*.claw")):
        told = (CORPUS / f"{path.stem}.expected").read_text(encoding="utf-8")
        if any(f" {code} " in told for code in SEEN) and says(path) is not None:
            yield path.stem


@pytest.mark.parametrize("name", list(broken()))
def test_a_broken_file_is_refused_where_a_schema_can_tell(name: str) -> None:
    assert VALIDATOR.is_valid(says(CORPUS / f"{name}.claw")) == (name in UNSEEN)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for inner in _inside(field.annotation):
            yield from models(inner)


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def test_its_keys_are_the_keys_of_the_models() -> None:
    every = {inner for model in MODELS for inner in models(model)}
    ours = {(m.__name__, key) for m in every for key in names_of(m) if key != "name" and m.__name__ != "Head"}
    theirs = {(name, key) for name, body in SCHEMA["$defs"].items() for key in body["properties"]}
    assert ours == theirs
    assert set(SCHEMA["properties"]) == {"system", "version", "owner", "batch", *LAYERS, *BLOCKS}


def test_every_key_has_a_caption() -> None:
    bare = [
        f"{name}.{key}"
        for name, body in {**SCHEMA["$defs"], "": SCHEMA}.items()
        for key, said in body["properties"].items()
        if not said.get("description")
    ]
    assert bare == []
