"""Runs that start in milliseconds.

launcher    hands a run to the pool, or to Dagster's own launcher when it is down
pool        the process that keeps warm workers
code        the code server, forked from the pool
kin         names of forked processes, and their end
daemon      Dagster's daemon over kept connections
instance    Dagster's instance in a process that lives long
worker      executes one run after another
hosts       a Dagster run launcher that hands runs to Celery workers on other machines
hands       what such a worker executes
undertaker  says that a run's worker died, and makes its cases due again
express     turns due cases into runs as soon as there is room
turns       whose turn it is: claims due cases, critical ones first, for express and the sensor
limits      what the limits of dagster.yaml let begin right now, as Dagster's queue counts
storage     Dagster's SQLite storages over kept connections
line        how processes talk to the pool
"""
