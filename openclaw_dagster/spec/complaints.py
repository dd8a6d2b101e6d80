"""What the YAML library complains about, in the words of somebody who writes files."""

from __future__ import annotations

import re

from openclaw_dagster.spec.diagnostics import Mark

_COMPLAINTS = {
    "cannot start any token": "no value begins with this character",
    "mapping values are not allowed": "a second ': ' on this line, or an indentation that does not fit",
    "did not find expected key": "the indentation does not fit the lines above, or a bracket is not closed",
    "could not find expected ':'": "a key without ':'",
    "did not find expected '-' indicator": "the indentation does not fit the list above",
    "unexpected end of stream": "the quotes that begin here are not closed",
    "expected comment or line break": "a value that begins with > or | would be a block of text",
    "did not find expected ',' or '}'": "a '{' that is not closed, or a ',' that is missing",
    "did not find expected ',' or ']'": "a '[' that is not closed, or a ',' that is missing",
    "did not find expected <document start>": "a second top-level value begins here: one file is one mapping",
    "block sequence entries are not allowed": "a list cannot begin here: put '- ' on a line of its own",
}


def plainly(problem: str) -> str:
    """Say the commonest complaints of the YAML library in the words of somebody who writes files."""
    for theirs, ours in _COMPLAINTS.items():
        if theirs in problem:
            return ours
    return problem


def repair(text: str, mark: Mark) -> str:
    """Return how the commonest mistakes at a place are mended; empty when it is none of them."""
    lines = text.splitlines()
    for number in (mark.line, mark.line - 1):
        line = lines[number - 1] if 0 < number <= len(lines) else ""
        found = re.search(r":\s+([>%@`|*&!][^\s'\"][^#]*)", line)
        if found:
            return f'quote it: "{found[1].strip()}"'
    line = lines[mark.line - 1] if 0 < mark.line <= len(lines) else ""
    if line.lstrip(" -").startswith(":"):
        return "write the key before ':'"
    if any("\t" in lines[n - 1][: mark.column] for n in (mark.line,) if 0 < n <= len(lines)):
        return "indent with spaces, never with tabs"
    return ""
