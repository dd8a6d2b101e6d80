"""Operational systems as one declarative file, compiled into Dagster and run exactly once.

spec/        text in, System out: the language
store/       the ledger: events, cases, journal, effects
adapters/    the outside world and its simulators
policy/      how a decision is computed
runtime/     what happens to one case
compile/     System → Dagster jobs, sensors, schedules, and the component
warm/        runs that start in milliseconds
web/         the HTTP edge, with the Dagster UI inside
cli/         the command line
definitions  what Dagster loads
"""

__version__ = "0.1.0"
