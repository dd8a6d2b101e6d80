"""The truth: events, cases and their journal in one database; `ledger` is the door."""
