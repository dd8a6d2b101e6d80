"""`claw adapter`: which actions there are, a new contract, and a contract tried out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from openclaw_dagster.cli import output
from openclaw_dagster.cli.output import AsJson
from openclaw_dagster.cli.place import shown_path
from openclaw_dagster.errors import ClawError
from openclaw_dagster.settings import read_settings

if TYPE_CHECKING:
    from openclaw_dagster.runtime.workspace import Project
    from openclaw_dagster.spec.contracts import Contract, Operation
    from openclaw_dagster.spec.environment import Environment

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")

TEMPLATE = """\
# The contract of the adapter {name}: what its operations take, what they give, and what they may break.
# A step names one as `action: {name}.create`. What stands behind it is said per environment, in
# environments/NAME.yaml: `{name}: {{use: simulator}}` or `{name}: {{use: http, url: https://…}}`.
summary: Say in one line what {name} is.
kind: task                # task | sync | remediation | brief

operations:
  create:
    effect: write         # read: changes nothing · write: can be taken back · irreversible: cannot
    summary: Say what it does.
    idempotent: true      # does the far side refuse a second call with the same Idempotency-Key?
    verify: find          # the read that tells whether a call of unknown outcome took place
    undo: remove          # what takes it back when a later step fails for good
    input:                # JSON Schema of the arguments: what does not fit is refused before anything is sent
      type: object
      required: [order]
      properties: {{order: {{type: [object, string, number]}}}}
    output:               # JSON Schema of the answer; one that does not fit only warns
      type: object
      properties: {{id: {{type: [string, number]}}}}
    http: {{method: POST, path: /things}}
    simulate:             # the simulator's answer: CEL over args, key, count and record
      id: "${{'T-' + string(count)}}"
      status: created

  find:
    effect: read
    summary: Find what was created under an idempotency key.
    input:
      type: object
      properties: {{idempotency_key: {{type: string, minLength: 1}}}}
    http: {{method: GET, path: "/things/{{idempotency_key}}"}}

  remove:
    effect: write
    summary: Take back what was created under an idempotency key.
    idempotent: true
    input:
      type: object
      properties: {{idempotency_key: {{type: string, minLength: 1}}}}
    http: {{method: DELETE, path: "/things/{{idempotency_key}}"}}
    simulate: {{status: removed}}
"""


class NoAdapter(ClawError):
    """There is no adapter {name!r}; there are: {known}. `claw adapter new {name}` begins one."""

    code = "CLAW711"


class AdapterExists(ClawError):
    """{file} is there already, and is left as it is: edit it, or choose another name."""

    code = "CLAW712"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, help="List actions, begin a new adapter, try one out.")
    group.command("list")(list_adapters)
    group.command()(new)
    group.command("test")(try_out)
    app.add_typer(group, name="adapter", rich_help_panel="Write")


def list_adapters(
    name: Annotated[str | None, typer.Argument(help="Only this adapter.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the actions a step may name, and what stands behind them in this environment.

    \b
    Examples:
      claw adapter list
      claw --environment production adapter list carrier
    """
    from openclaw_dagster.runtime.workspace import Project
    from openclaw_dagster.spec.surroundings import load_environment

    settings = read_settings()
    project = Project(settings.specs)
    contracts = {name: _contract(project, name)} if name else project.contracts
    environment = load_environment(settings.environment_file)
    if as_json:
        output.say_json(
            [_for_machines(one, contract, environment) for one, contract in sorted(contracts.items())]
        )
        return
    for one, contract in sorted(contracts.items()):
        head = Text(output.literal(one), style="bold")
        head.append(output.literal(f"  {contract.kind}, {_bound(environment, one)}"), "not bold")
        output.out().print(head)
        if contract.summary:
            output.say(f"  {contract.summary}", "dim")
        rows = [_row(one, operation, how) for operation, how in contract.operations.items()]
        output.table(("action", "effect", "same key twice", "verify", "undo", ""), rows, indent=2)
        output.say()


def _row(adapter: str, name: str, operation: Operation) -> tuple[str, ...]:
    twice = "" if operation.effect == "read" else "once" if operation.idempotent else "twice!"
    return (
        f"{adapter}.{name}",
        operation.effect,
        twice,
        operation.verify or "",
        operation.undo or "",
        operation.summary,
    )


def _bound(environment: Environment, name: str) -> str:
    binding = environment.adapters.get(name)
    if binding is None:
        return "nothing stands behind it here"
    url = getattr(binding, "url", None)
    return f"bound to {binding.use}" + (f" {url}" if url else "")


def _for_machines(name: str, contract: Contract, environment: Environment) -> dict[str, Any]:
    binding = environment.adapters.get(name)
    words = ("effect", "idempotent", "verify", "undo", "summary")
    return {
        "adapter": name,
        "kind": contract.kind,
        "summary": contract.summary,
        "bound_to": binding.model_dump(mode="json") if binding else None,
        "operations": {
            one: {word: getattr(how, word) for word in words} for one, how in contract.operations.items()
        },
    }


def _contract(project: Project, name: str) -> Contract:
    if name not in project.contracts:
        raise NoAdapter(name=name, known=", ".join(sorted(project.contracts)))
    return project.contracts[name]


def new(
    name: Annotated[str, typer.Argument(help="The adapter's name, such as warehouse.")],
) -> None:
    """Begin a new adapter: adapters/NAME.yaml beside the systems, with every key explained.

    \b
    Example:
      claw adapter new warehouse
    """
    if not NAME.match(name):
        raise typer.BadParameter(
            f"{name!r} cannot name an adapter: a small letter, then small letters, digits and _"
        )
    folder = read_settings().specs / "adapters"
    file = folder / f"{name}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("x") as stream:
            stream.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise AdapterExists(file=shown_path(file)) from None
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error
    environment = shown_path(read_settings().environment_file)
    output.say(f"written: {shown_path(file)}", "green")
    output.say(f"  edit it, then try it:   claw adapter test {name}")
    output.say(f"  bind it:                {name}: {{use: simulator}} under adapters: in {environment}")


def try_out(
    name: Annotated[str, typer.Argument(help="The adapter, such as carrier.")],
    operation: Annotated[
        str | None, typer.Option("--operation", "-o", help="Only this operation, such as book.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a contract out against its simulator, in a memory of its own; nothing outside is called.

    Every operation answers as its contract says; a write sent twice under one key happens once; its verify
    finds it; its undo takes it back.

    \b
    Examples:
      claw adapter test carrier
      claw adapter test warehouse --operation create
    """
    from openclaw_dagster.cli.rehearsal import rehearse
    from openclaw_dagster.runtime.workspace import Project

    project = Project(read_settings().specs)
    contract = _contract(project, name)
    if operation is not None and operation not in contract.operations:
        raise typer.BadParameter(
            f"{name} has no operation {operation!r}; it has: {', '.join(contract.operations)}"
        )
    findings = list(rehearse(name, contract, operation))
    good = all(one.good for one in findings)
    if as_json:
        output.say_json({"adapter": name, "ok": good, "findings": [vars(one) for one in findings]})
    else:
        rows = [
            (output.state("ok" if one.good else "fail"), f"{name}.{one.operation}", one.text)
            for one in findings
        ]
        output.table(("", "", ""), rows)
    raise typer.Exit(0 if good else 1)
