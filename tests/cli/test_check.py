"""`claw check`, `claw explain`, `claw schema`: what is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import RETURNS, Claw

#: The systems that lie beside the sample.
EXAMPLES = ("customer_escalation", "inventory_shortage", "recall", "recall_lot", "stalled_orders")
LAYERS = ("triggers", "decisions", "execution", "data", "observability")


def _without(text: str, layer: str) -> str:
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line[:1].isalpha():
            inside = line.startswith(layer + ":")
        if not inside:
            kept.append(line)
    return "".join(kept)


def test_the_sample_is_good(claw: Claw) -> None:
    done = claw("check", "claw_specs/dispatch.claw")
    assert done.code == 0
    assert done.out.startswith("ok  dispatch 1.0.0  ")
    assert done.out.endswith("1 trigger, 1 decision, 1 step\n")
    assert "\x1b" not in done.out


def test_the_folder_is_checked_when_nothing_is_named(claw: Claw, project: Path) -> None:
    (project / "claw_specs" / "returns.claw").write_text(RETURNS)
    done = claw("check", "--json")
    assert done.code == 0
    names = [one["name"] for one in done.json["systems"]]
    assert names == sorted([*EXAMPLES, "dispatch", "returns"])
    assert len(done.json["systems"][0]["digest"]) == 64


@pytest.mark.parametrize("layer", LAYERS)
def test_a_missing_layer_is_named(claw: Claw, project: Path, layer: str) -> None:
    file = project / "claw_specs" / "dispatch.claw"
    file.write_text(_without(file.read_text(), layer))
    done = claw("check", file)
    assert done.code == 2
    assert f"CLAW010 the layer '{layer}' is missing" in done.out


def test_a_critical_step_without_checkpoint_exits_with_2(claw: Claw, project: Path) -> None:
    file = project / "claw_specs" / "dispatch.claw"
    file.write_text(file.read_text().replace("    retries: 3", "    retries: 3\n      critical: true"))
    done = claw("check", "claw_specs/dispatch.claw")
    assert done.code == 2
    assert "critical" in done.out
    assert "checkpoint" in done.out


def test_a_misspelt_key_has_line_caret_and_a_guess(claw: Claw, project: Path) -> None:
    file = project / "claw_specs" / "dispatch.claw"
    file.write_text(file.read_text().replace("retries: 3", "retrys: 3"))
    done = claw("check", "claw_specs/dispatch.claw")
    assert done.code == 2
    assert "claw_specs/dispatch.claw:19:7: CLAW012" in done.out
    assert "   19 |       retrys: 3\n      |       ^\n" in done.out
    assert "did you mean retries?" in done.out
    assert done.out.endswith("1 problem in 1 file\n")


def test_one_bad_file_does_not_hide_the_good_ones(claw: Claw, project: Path) -> None:
    (project / "claw_specs" / "bad.claw").write_text("- 1\n")
    done = claw("check", "--json")
    assert done.code == 2
    assert [one["name"] for one in done.json["systems"]] == sorted([*EXAMPLES, "dispatch"])
    (problem,) = done.json["diagnostics"]
    assert (problem["file"], problem["line"], problem["code"]) == ("claw_specs/bad.claw", 1, "CLAW014")


def test_a_file_is_checked_with_the_contracts_beside_it(claw: Claw, project: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    text = (project / "claw_specs" / "dispatch.claw").read_text().replace("carrier.book", "rail.create")
    (other / "dispatch.claw").write_text(text)
    (other / "policies").mkdir()
    policy = project / "claw_specs" / "policies" / "carrier.policy.ts"
    (other / "policies" / policy.name).write_text(policy.read_text())
    assert "CLAW023" in claw("check", other / "dispatch.claw").out
    claw("--specs", other, "adapter", "new", "rail")
    assert claw("check", other / "dispatch.claw").code == 0


@pytest.mark.parametrize(
    ("path", "said"), [("nope.claw", "does not exist"), ("empty", "holds no .claw file")]
)
def test_nothing_to_check(claw: Claw, project: Path, path: str, said: str) -> None:
    (project / "empty").mkdir()
    done = claw("check", path)
    assert done.code == 2
    assert said in done.out


class TestEnvironment:
    def test_development_is_complete(self, claw: Claw) -> None:
        assert claw("check", "--environment", "development").code == 0

    def test_unset_secrets_are_warnings(self, claw: Claw) -> None:
        done = claw("check", "--environment", "production")
        assert done.code == 0
        assert "CLAW036 warning: the secret CARRIER_TOKEN is not set here" in done.out
        assert "CLAW036 warning: the secret DISPATCH_ORDER_CREATED_SECRET is not set here" in done.out

    def test_a_constant_that_is_gone_is_missed(self, claw: Claw, project: Path) -> None:
        file = project / "claw_specs" / "environments" / "development.yaml"
        before, rest = file.read_text().split("  sla_policy:\n")
        file.write_text(before + rest.split("\n", 2)[2])
        done = claw("check", "--environment", "development", "--json")
        assert done.code == 2
        (problem,) = done.json["diagnostics"]
        assert problem["code"] == "CLAW036"
        assert problem["message"] == "nothing provides sla_policy, an input of dispatch.carrier_selection"

    def test_an_adapter_that_is_not_bound_is_missed(self, claw: Claw, project: Path) -> None:
        (project / "claw_specs" / "environments" / "bare.yaml").write_text(
            "constants: {carrier_rates: [], sla_policy: {}}\nadapters:\n  carier: {use: simulator}\n"
        )
        done = claw("check", "--environment", "bare")
        assert done.code == 2
        assert "dispatch uses carrier.book" in done.out
        assert "did you mean carrier?" in done.out

    def test_an_environment_that_is_not_there(self, claw: Claw) -> None:
        done = claw("check", "--environment", "developmnt")
        assert done.code == 2
        assert "did you mean development?" in done.out


def test_explain_knows_codes_of_files_and_of_errors(claw: Claw) -> None:
    assert "The key is not known at this place." in claw("explain", "CLAW012").out
    assert claw("explain", "12").out == claw("explain", "CLAW012").out
    assert "`claw dev` makes one" in claw("explain", "CLAW701").out
    assert "{" not in claw("explain", "CLAW701").out
    done = claw("explain", "CLAW998")
    assert done.code == 1
    assert "CLAW704" in done.err


def test_every_code_has_a_text(claw: Claw) -> None:
    every = claw("explain", "--json").json
    assert len(every) > 50
    assert all(one["text"] for one in every)


def test_schema(claw: Claw, project: Path) -> None:
    printed = claw("schema")
    assert json.loads(printed.out)["type"] == "object"
    assert "# yaml-language-server: $schema=./claw.schema.json" in printed.err
    done = claw("schema", "--output", "claw_specs/mine.json")
    assert done.out == ""
    assert (project / "claw_specs" / "mine.json").read_text() == printed.out
    assert "$schema=./mine.json" in done.err


def test_neither_help_nor_check_loads_dagster(project: Path) -> None:
    heavy = "('dagster', 'starlette', 'dagster_webserver')"
    code = (
        "import sys\nfrom openclaw_dagster.cli.app import app\n"
        "for words in (['--help'], ['check', '--environment', 'development']):\n"
        "    try:\n        app(words)\n    except SystemExit as end:\n        assert not end.code, end.code\n"
        f"assert not [m for m in sys.modules if m.split('.')[0] in {heavy}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
