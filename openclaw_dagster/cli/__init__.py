"""The command line: `claw`.

`app` the commands and how errors are said · `check` `language` what is written · `send` events in ·
`case` `dlq` what became of them · `audit` `doctor` is all well · `adapter` the outside world ·
`dev` everything on this machine. `output` says how things look, `place` where they are.
"""

from __future__ import annotations


def main() -> None:
    """Run `claw` with the arguments of the process, and end the process with its exit code."""
    from openclaw_dagster.cli.app import run

    run()
