"""An expression as a tree: what the CEL library parsed, read from the bytes in which it says so."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

#: What a literal can be.
Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Node:
    """One node of a parsed expression, as the CEL library parsed it.

    `kind` is `literal`, `name`, `field`, `has`, `call`, `list`, `map`, `loop` or `body` (a loop's inside).
    `word` is a literal's type, the name, the field or the function; `value` a literal's value; `binds`
    the names a body brings; `offset` counts characters from the text's start.
    """

    kind: str
    word: str
    value: Value = None
    inner: tuple[Node, ...] = ()
    offset: int = 0
    binds: frozenset[str] = frozenset()

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, outermost first."""
        yield self
        for node in self.inner:
            yield from node.walk()


class NotUsed(Exception):
    """A part of CEL that the language leaves out, at `offset` characters from the text's start."""

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(problem)
        self.offset = offset
        self.problem = problem


def tree_of(document: bytes) -> Node:
    """Return the tree in a serialized `cel.expr.ParsedExpr`; NotUsed when it holds what is left out."""
    return _Reader(document).node


class _Reader:
    """Reads the library's own parse, a serialized `cel.expr.ParsedExpr`: one grammar, not two."""

    def __init__(self, document: bytes) -> None:
        parsed = _fields(_one(_fields(document), 2))
        self.offsets = {}
        for entry in _fields(_one(parsed, 3)).get(4, []):
            position = _fields(entry)
            self.offsets[_one(position, 1)] = _one(position, 2)
        self.node = self.read(_one(parsed, 2))

    def read(self, data: bytes) -> Node:
        expr = _fields(data)
        offset = self.offsets.get(_one(expr, 2), 0)
        kind = next(number for number in expr if number != 2)
        body = _fields(_one(expr, kind))
        match kind:
            case 3:
                word, value = _literal(body)
                return Node("literal", word, value, offset=offset)
            case 4:
                return Node("name", _one(body, 1).decode(), offset=offset)
            case 5:
                has = "has" if 3 in body else "field"
                return Node(has, _one(body, 2).decode(), inner=(self.read(_one(body, 1)),), offset=offset)
            case 6:
                inner = self.all(body.get(1, []) + body.get(3, []))
                return Node("call", _one(body, 2).decode(), inner=inner, offset=offset)
            case 7:
                return Node("list", "", inner=self.all(body.get(1, [])), offset=offset)
            case 8:
                return self.read_map(body, offset)
            case _:
                binds = frozenset(_one(body, number).decode() for number in (1, 3, 8) if number in body)
                repeated = self.all([_one(body, number) for number in (4, 5, 6, 7)])
                body_node = Node("body", "", inner=repeated, offset=offset, binds=binds)
                return Node("loop", "", inner=(self.read(_one(body, 2)), body_node), offset=offset)

    def read_map(self, body: dict[int, list[Any]], offset: int) -> Node:
        if 1 in body:
            raise NotUsed(offset, "messages are not used here: write a mapping such as `{'a': 1}`")
        entries = [_fields(entry) for entry in body.get(2, [])]
        return Node("map", "", inner=self.all([_one(e, n) for e in entries for n in (3, 4)]), offset=offset)

    def all(self, many: list[Any]) -> tuple[Node, ...]:
        return tuple(self.read(data) for data in many)


def _literal(body: dict[int, list[Any]]) -> tuple[str, Value]:
    number, (raw, *_) = next(iter(body.items()))
    match number:
        case 1:
            return "null", None
        case 2:
            return "bool", bool(raw)
        case 3:
            return "int", raw - (1 << 64) if raw >> 63 else raw
        case 4:
            return "int", raw
        case 5:
            return "double", struct.unpack("<d", raw)[0]
        case 6:
            return "string", raw.decode()
        case _:
            return "bytes", None


def _one(fields: dict[int, list[Any]], number: int) -> Any:
    return fields[number][0]


def _fields(data: bytes) -> dict[int, list[Any]]:
    """Split one protobuf message into its fields, by number, in the order of the wire."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = _varint(data, at)
        else:
            size, at = _varint(data, at) if key & 7 == 2 else (8, at)
            value, at = data[at : at + size], at + size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
