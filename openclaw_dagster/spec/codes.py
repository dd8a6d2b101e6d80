"""Every code the checker can print, with what it means and how to mend it."""

from __future__ import annotations

#: The code, and the explanation that `docs/errors.md` gives.
CODES: dict[str, str] = {
    "CLAW001": (
        "The file cannot be read as UTF-8 text: it is empty, too large, cut, or holds a byte order mark "
        "or a control character."
    ),
    "CLAW002": (
        "The text is not YAML. Values that begin with `>`, `%`, `@`, `*`, `&`, `!` or a backtick need quotes."
    ),
    "CLAW003": (
        "A key stands twice in one mapping. YAML readers disagree about which one wins, so neither does."
    ),
    "CLAW004": "Anchors, aliases, tags and second documents are not part of the language.",
    "CLAW005": "The file is nested too deeply or holds too many values (20 levels, 10,000 values).",
    "CLAW006": (
        "A number is ambiguous or too large. Write it without leading zeros, within 64 bits, or quote it."
    ),
    "CLAW010": "One of the five layers is missing. A system without it drifts in production: add the layer.",
    "CLAW011": "A layer is there but empty. Say at least one thing in it.",
    "CLAW012": "The key is not known at this place.",
    "CLAW013": "A key that must be there is missing.",
    "CLAW014": (
        "The value has the wrong kind: a list where a mapping belongs, a number where text belongs, or "
        "another word."
    ),
    "CLAW015": (
        "A name must match [a-z][a-z0-9_]*, at most 64 characters, and be no word that expressions or "
        "Dagster keep for themselves; events are such names joined by dots."
    ),
    "CLAW016": (
        "Two things share one name. Names are unique in a system, and the systems of a folder have names "
        "of their own."
    ),
    "CLAW017": "A quantity has a unit, and the unit belongs to the place: 500ms, 2m, 365d, <0.5%.",
    "CLAW018": (
        "A place is a URI: queue://ops.dlq, slack://ops-oncall, email://ops@example.org, "
        "role://ops_lead. Dead letters go to a queue."
    ),
    "CLAW019": (
        "The word belongs to the language, but this version does not execute it yet, so it refuses it."
    ),
    "CLAW020": (
        "A file the system names is missing, is not a plain file, is too large, or lies outside the "
        "system's folder."
    ),
    "CLAW021": "A condition or expression is not valid CEL, or uses a name that is not known there.",
    "CLAW022": (
        "Nothing emits the event that is listened to: no trigger, decision or step of the system, or of "
        "the system it names."
    ),
    "CLAW023": "No adapter has this action.",
    "CLAW024": "Things wait for each other in a circle.",
    "CLAW025": "Nothing ever reaches this: no trigger leads to it.",
    "CLAW026": "It is not clear which trigger starts this decision: say it with `on:`.",
    "CLAW027": "The table has a gap: an input that no row decides.",
    "CLAW028": "Two rows of the table can be true for one input.",
    "CLAW029": (
        "The policy does not compile, or breaks the rules of policies (no clock, no randomness, no input "
        "or output)."
    ),
    "CLAW030": "The cron expression is not valid.",
    "CLAW031": "The time zone is not known.",
    "CLAW032": "The effect class contradicts the action, or an irreversible step has no approval.",
    "CLAW033": "The `verify` or `undo` operation is not usable for this step.",
    "CLAW034": "The arguments under `with` do not fit what the action takes.",
    "CLAW035": "The JSON Schema file is not a valid JSON Schema.",
    "CLAW036": "A file names secrets and never holds them: write a name such as OMS_WEBHOOK_SECRET.",
    "CLAW037": (
        "The checkpoint does not hold: a critical step has none, silence would approve, its times do not fit "
        "each other, or nobody takes over what it denies."
    ),
    "CLAW038": "The step and the skip policy do not name each other.",
    "CLAW039": (
        "The environment does not say who answers: a role or person it does not have, a role that nobody "
        "has, fewer people than a quorum takes, or two people who are one."
    ),
    "CLAW040": (
        "The scenario cannot be played: it names what the system does not have, a payload does not fit its "
        "trigger, its lines go backwards, or it expects what can never be."
    ),
    "CLAW041": (
        "The runbook cannot be started: there is no such system, it has not exactly one manual trigger, runbooks "
        "start each other in a circle, or the step says what only the steps inside the runbook can say."
    ),
}
