"""Bytes in, nodes with positions out: YAML 1.2 core without anchors, tags, duplicates or surprises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from openclaw_dagster.spec.complaints import plainly, repair
from openclaw_dagster.spec.diagnostics import Findings, Mark

_Parser: Any
try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # a build of PyYAML without libyaml: slower, the same events
    _Parser = yaml.SafeLoader

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_NODES = 10_000
MAX_KEY = 200

_INT = re.compile(r"[-+]?[0-9]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")


class Int(int):
    """A whole number that remembers how it was written."""

    text: str


class Float(float):
    """A number that remembers how it was written, so that `version: 1.10` can stay text."""

    text: str


@dataclass(frozen=True)
class Node:
    """One value of the file: a dict of nodes, a list of nodes, or a scalar, with where it stands."""

    value: Any
    mark: Mark
    keys: dict[str, Mark]

    def plain(self) -> Any:
        """Return the value as ordinary Python data."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def step(self, part: Any) -> Node | None:
        """Return what stands under one key or index, if anything."""
        if isinstance(self.value, dict):
            return self.value.get(part)
        if isinstance(self.value, list) and isinstance(part, int) and part < len(self.value):
            inner: Node = self.value[part]
            return inner
        return None

    def at(self, path: tuple[Any, ...]) -> Node | None:
        """Return what stands at `path`, if anything."""
        node: Node | None = self
        for part in path:
            node = node.step(part) if node is not None else None
        return node

    def mark_of(self, path: tuple[Any, ...]) -> Mark:
        """Return where `path` stands: the key for a mapping's entry, the nearest parent when it is absent."""
        node, mark = self, self.mark
        for part in path:
            inner = node.step(part)
            if inner is None:
                break
            mark = node.keys.get(part, inner.mark)
            node = inner
        return mark

    def value_mark(self, path: tuple[Any, ...]) -> Mark:
        """Return where the value of `path` begins, or of the nearest parent that is there."""
        node = self
        for part in path:
            inner = node.step(part)
            if inner is None:
                break
            node = inner
        return node.mark


class Unreadable(Exception):
    """Reading stopped: the findings say why."""


def read(data: bytes, findings: Findings) -> Node | None:
    """Return the root node of `data`, whose text the findings keep; None when it cannot be read."""
    findings.source = data[: 2 * MAX_BYTES].decode("utf-8", "replace")
    try:
        return _compose(_text(data, findings), findings)
    except Unreadable:
        return None


def _text(data: bytes, findings: Findings) -> str:
    def stop(offset: int, message: str) -> Unreadable:
        before = data[:offset]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        findings.add(Mark(before.count(b"\n") + 1, column), "CLAW001", message)
        return Unreadable()

    if len(data) > MAX_BYTES:
        raise stop(0, f"the file has {len(data)} bytes; at most {MAX_BYTES} are read")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise stop(0, "the file begins with a byte order mark: save it as UTF-8 without one")
    if (nul := data.find(b"\0")) >= 0:
        raise stop(nul, "the file holds a NUL byte")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise stop(error.start, "the bytes here are not UTF-8") from None


def _compose(text: str, findings: Findings) -> Node:
    events = _events(text, findings)
    builder = _Builder(events, findings)
    next(events)  # the start of the stream
    event = next(events)
    if isinstance(event, yaml.StreamEndEvent):
        findings.add(Mark(), "CLAW001", "the file is empty")
        raise Unreadable
    root = builder.node(next(events), 0)
    next(events)  # the end of the document
    extra = next(events)
    if not isinstance(extra, yaml.StreamEndEvent):
        findings.add(_mark(extra), "CLAW004", "a second document begins here: one file holds one document")
        raise Unreadable
    return root


def _events(text: str, findings: Findings) -> Iterator[Any]:
    """Yield parse events; a syntax error becomes a finding with its place."""
    try:
        parser = _Parser(text)
        while True:
            event = parser.get_event()
            if event is None:
                return
            yield event
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
        findings.add(mark, "CLAW001", "a control character is not allowed here")
        raise Unreadable from None
    except yaml.MarkedYAMLError as error:
        # what is not closed is mended where it was opened, and a block of text where it begins
        opened = re.search("flow|block scalar", error.context or "") or "unexpected end" in (
            error.problem or ""
        )
        place = (error.context_mark if opened else None) or error.problem_mark or error.context_mark
        mark = Mark(place.line + 1, place.column + 1) if place else Mark()
        problem = plainly(error.problem or error.context or "it cannot be read")
        findings.add(mark, "CLAW002", f"not YAML: {problem}", hint=repair(text, mark))
        raise Unreadable from None


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


class _Builder:
    """Builds nodes from events, with the limits of the language."""

    def __init__(self, events: Iterator[Any], findings: Findings) -> None:
        self.events = events
        self.findings = findings
        self.count = 0

    def stop(self, mark: Mark, code: str, message: str) -> Unreadable:
        self.findings.add(mark, code, message)
        return Unreadable()

    def node(self, event: Any, depth: int) -> Node:
        mark = _mark(event)
        self.count += 1
        if depth > MAX_DEPTH:
            raise self.stop(mark, "CLAW005", f"nested deeper than {MAX_DEPTH} levels")
        if self.count > MAX_NODES:
            raise self.stop(mark, "CLAW005", f"more than {MAX_NODES:,} values")
        if isinstance(event, yaml.AliasEvent):
            problem = (
                f"the alias *{event.anchor}: aliases are not part of the language, write the value again"
            )
            raise self.stop(mark, "CLAW004", problem)
        if event.anchor:
            problem = f"the anchor &{event.anchor}: anchors are not part of the language"
            raise self.stop(mark, "CLAW004", problem)
        if event.tag:
            raise self.stop(mark, "CLAW004", f"the tag {event.tag}: tags are not part of the language")
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(mark, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(mark, depth)
        return Node(self.scalar(event, mark), mark, {})

    def sequence(self, mark: Mark, depth: int) -> Node:
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth + 1))
        return Node(items, mark, {})

    def mapping(self, mark: Mark, depth: int) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            place = _mark(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.stop(place, "CLAW014", "a key is a word, not a list or a mapping")
            self.node(event, depth + 1)  # the key obeys the same limits
            key = str(event.value)
            if len(key) > MAX_KEY:
                raise self.stop(place, "CLAW005", f"a key of more than {MAX_KEY} characters")
            value = self.node(next(self.events), depth + 1)
            if key in entries:
                problem = f"the key {key!r} stands already at line {keys[key].line}"
                self.findings.add(place, "CLAW003", problem)
                continue
            entries[key], keys[key] = value, place
        return Node(entries, mark, keys)

    def check_text(self, text: str, mark: Mark) -> None:
        if found := _CONTROL.search(text):
            problem = f"the character U+{ord(found[0]):04X} is not allowed here, however it is written"
            self.findings.add(mark, "CLAW001", problem)

    def scalar(self, event: Any, mark: Mark) -> Any:
        text = str(event.value)
        self.check_text(text, mark)
        if event.style:  # quoted or block text is text
            return text
        if text in ("", "~", "null"):
            return None
        if text in ("true", "false"):
            return text == "true"
        if _INT.match(text):
            digits = text.lstrip("+-")
            if len(digits) > 1 and digits.startswith("0"):
                shorter = digits.lstrip("0") or "0"
                problem = f"{text[:40]} begins with a zero: write {shorter[:40]}, or quote it"
                self.findings.add(mark, "CLAW006", problem)
            return self._int(int(text) if len(text) < 25 else 2**64, text, mark)
        if _HEX.match(text):
            return self._int(int(text, 0) if len(text) < 40 else 2**64, text, mark)
        if _FLOAT.match(text):
            number = Float(text)
            number.text = text
            if number in (float("inf"), float("-inf")):
                self.findings.add(mark, "CLAW006", f"{text} is too large for a number")
            return number
        return text

    def _int(self, value: int, text: str, mark: Mark) -> Int:
        if not -(2**63) <= value < 2**63:
            self.findings.add(mark, "CLAW006", "the number does not fit into 64 bits: quote it")
            value = 0
        number = Int(value)
        number.text = text
        return number
