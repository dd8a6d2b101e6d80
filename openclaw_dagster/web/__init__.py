"""The HTTP edge.

host        one ASGI app with the Dagster UI inside
webhooks    signed events in
signatures  whose signature format is whose
body        strict JSON
secrets     which secrets verify a webhook, and the refusal to start without them
limits      a token bucket per sender
inlet       events that arrive together are committed together
reload      asks the host to read the files anew
fitness     whether the files as they are now may be served
pages       systems, cases, dead letters for people
health      for orchestrators
metrics     for Prometheus
"""
