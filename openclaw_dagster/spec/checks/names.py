"""One name means one thing, and every name can be used where it is needed."""

from __future__ import annotations

from openclaw_dagster.spec.draft import BUILT_IN, Draft
from openclaw_dagster.spec.gates import NEVER
from openclaw_dagster.spec.model import ENDS

#: Words of CEL: an expression could not look at a thing of such a name.
CEL_WORDS = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
        "bool",
        "bytes",
        "double",
        "duration",
        "dyn",
        "has",
        "int",
        "list",
        "map",
        "null_type",
        "size",
        "string",
        "timestamp",
        "type",
        "uint",
    ]
)
#: Words that Dagster, where a system becomes a job of its name, keeps for itself, as Python does.
JOB_WORDS = frozenset(
    [
        "and",
        "arg_dict",
        "as",
        "assert",
        "async",
        "await",
        "bool",
        "break",
        "class",
        "conf",
        "config",
        "context",
        "continue",
        "def",
        "del",
        "dict",
        "elif",
        "else",
        "except",
        "finally",
        "float",
        "for",
        "from",
        "global",
        "if",
        "import",
        "in",
        "input",
        "input_arg_dict",
        "int",
        "is",
        "lambda",
        "meta",
        "nonlocal",
        "not",
        "or",
        "output",
        "output_arg_dict",
        "pass",
        "raise",
        "return",
        "str",
        "try",
        "type",
        "while",
        "with",
        "yield",
        "claw_upkeep",
    ]
)
#: What the last stage of every case is called.
CLOSE = "close"

_KINDS = {
    "triggers": "trigger",
    "decisions": "decision",
    "execution": "step",
    "sources": "source",
    "skip_policies": "skip policy",
}


def check_names(draft: Draft) -> None:
    """Names are unique in a system, and none is a word that is taken."""
    if draft.name in JOB_WORDS:
        problem = f"{draft.name} is a word of Dagster or Python: choose another name for the system"
        draft.findings.add(draft.root.value_mark(("system",)), "CLAW015", problem)
    seen: dict[str, str] = {}
    for layer, name in draft.places:
        if layer == "tests":
            continue  # nothing but `claw test` calls them by name
        if name in seen and seen[name] != layer:
            problem = f"{name} is a {_KINDS[seen[name]]} already: choose another name for the {_KINDS[layer]}"
            draft.findings.add(draft.mark(layer, name), "CLAW016", problem)
        seen.setdefault(name, layer)
        if (taken := _taken(layer, name)) is not None:
            draft.findings.add(draft.mark(layer, name), "CLAW015", f"{name} is {taken}: choose another name")
    for layer in ("decisions", "execution"):
        for name in draft.names(layer):
            event = draft.says(layer, name).get("emits")
            if event is not None and event.value in draft.names("triggers"):
                problem = f"{event.value} is a trigger already: what is emitted needs a name of its own"
                draft.findings.add(event.mark, "CLAW016", problem)
            elif event is not None and event.value in ENDS:
                problem = f"{event.value} is how every system says that a case has ended: choose another name"
                draft.findings.add(event.mark, "CLAW016", problem)


def _taken(layer: str, name: str) -> str | None:
    if name in BUILT_IN:
        return "what expressions call the case's own data"
    if layer not in ("triggers", "skip_policies") and name in CEL_WORDS:
        return "a word of expressions, so that none could look at it"
    if layer in ("decisions", "execution") and name == CLOSE:
        return "the stage that ends every case"
    if layer == "skip_policies" and name == NEVER:
        return "the word for a step that nobody may skip"
    if layer == "triggers" and name == "dispatch":
        return "the sensor that starts the system's cases"
    return None
