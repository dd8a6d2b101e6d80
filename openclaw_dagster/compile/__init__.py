"""System → Dagster.

system     what becomes what, on one screen
jobs       the job of a system: an op for each decision and step
sensors    the dispatch sensor
schedules  schedule triggers
conditions  condition triggers
beginning  the run that a tick of either asks for
upkeep     the ledger's own housekeeping
component  a `.claw` file as a component of any Dagster project
instance   both schemas brought up to date once
"""
