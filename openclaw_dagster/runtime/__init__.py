"""What happens to one case; no Dagster, no HTTP, no SQL.

workspace   what a process needs to move cases
backlog     how many cases one run carries
intake      how events come in
batch       the cases one run holds
advance     the state machine
decide      one decision
steps       one step: look, claim the effect, call, write
runbooks    a step that begins cases of another system
calls       the calls of a batch, side by side
undo        compensation
retry       when something is tried again
scope       what expressions see
history     the words of a journal, for people
trouble     mistakes that stay with their case
operations  what people do to cases
scenario    plays a system's tests on a clock that is moved by hand
standing    how a case stands, in the words of scenarios
tags        how runs and cases find each other
"""
