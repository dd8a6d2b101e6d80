"""Every broken file of the corpus is refused with exactly the text beside it, and quickly."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from openclaw_dagster.adapters.shipped import shipped_contracts
from openclaw_dagster.runtime.workspace import check_policy
from openclaw_dagster.spec.codes import CODES
from openclaw_dagster.spec.contracts import catalog_of
from openclaw_dagster.spec.diagnostics import SpecRefused
from openclaw_dagster.spec.load import load
from openclaw_dagster.spec.model import Step

CORPUS = Path(__file__).parent / "corpus"
#: Broken environments, with their own test in `test_roles.py`.
ENVIRONMENTS = CORPUS.parent / "environments"
CATALOG = catalog_of(shipped_contracts())
NAMES = sorted(path.stem for path in CORPUS.glob("*.claw"))
#: The longest a file may take, in seconds of this process's own time.
LIMIT = 0.2


def refusal(name: str) -> SpecRefused:
    with pytest.raises(SpecRefused) as caught:
        load(Path(f"{name}.claw"), CATALOG, check_policy)
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_refused_with_the_text_beside_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORPUS)
    took = []
    while not took or (took[-1] > LIMIT and len(took) < 4):  # a busy machine is not a slow reader
        began = time.process_time()
        refused = refusal(name)
        took.append(time.process_time() - began)
    expected = CORPUS / f"{name}.expected"
    if "CLAW_WRITE_EXPECTED" in os.environ:
        expected.write_text(refused.render() + "\n", encoding="utf-8")
    assert refused.render() + "\n" == expected.read_text(encoding="utf-8")
    assert took[-1] < LIMIT


def test_every_code_is_in_the_corpus() -> None:
    pages = [*CORPUS.glob("*.expected"), *ENVIRONMENTS.glob("*.expected")]
    told = "".join(path.read_text(encoding="utf-8") for path in pages)
    assert [code for code in CODES if code not in told] == []


def test_every_expected_text_belongs_to_a_file() -> None:
    assert sorted(path.stem for path in CORPUS.glob("*.expected")) == NAMES


def test_the_same_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORPUS)
    assert [one.as_json() for one in refusal("key_unknown").diagnostics] == [
        {
            "file": "key_unknown.claw",
            "line": 19,
            "column": 7,
            "code": "CLAW012",
            "message": "'retrys' is not known here",
            "allowed": sorted(
                field.alias or name for name, field in Step.model_fields.items() if name != "name"
            ),
            "hint": "did you mean retries?",
        }
    ]
