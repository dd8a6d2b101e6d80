"""What a GraphQL document would do, found without executing it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
)

from openclaw_dagster.web.access import FIELDS, VIEWER, Allowed, Doing, Refused, may, mutation
from openclaw_dagster.web.identity import Identity

#: Longest document in letters, most words in it, and how deep its fields may stand in each other. The largest
#: document of Dagster's own pages has 15 KB, 2,100 words and stands 17 deep.
MOST_LETTERS = 200_000
MOST_TOKENS = 20_000
MOST_DEEP = 40
#: What a POST carries; a link must change nothing, and neither does an open line.
EVERY_KIND = frozenset({"query", "mutation", "subscription"})
BY_GET = frozenset({"query"})
BY_LINE = frozenset({"query", "subscription"})
#: Brackets inside each other that the parser is asked to follow.
_MOST_BRACKETS = 200


@dataclass(frozen=True, slots=True)
class Document:
    """All that the operations of a document ask for, whichever of them is to be executed."""

    kinds: frozenset[str]  # query, mutation, subscription
    mutations: frozenset[str]  # names of fields
    looks: frozenset[str] = frozenset()  # fields of FIELDS, at any depth


def read_document(query: object) -> Document | Refused:
    """Return what a document asks for; Refused when it is none, or so big that reading it is work."""
    if not isinstance(query, str):
        return Refused("the query is not a text", 400)
    if len(query) > MOST_LETTERS or _brackets(query) > _MOST_BRACKETS:
        return Refused(f"the query is longer than {MOST_LETTERS} letters, or nested beyond reason", 413)
    try:
        parsed = parse(query, no_location=True, max_tokens=MOST_TOKENS)
    except GraphQLError as error:
        return Refused(f"the query is not GraphQL: {error.message[:200]}", 400)
    except RecursionError:
        return Refused("the query is nested beyond reason", 413)
    if _depth(parsed) > MOST_DEEP:
        return Refused(f"the fields of the query stand deeper than {MOST_DEEP} in each other", 413)
    operations = [one for one in parsed.definitions if isinstance(one, OperationDefinitionNode)]
    fragments = _fragments(parsed)
    names = {
        name
        for one in operations
        if one.operation is OperationType.MUTATION
        for name in _fields(one.selection_set, fragments)
    }
    kinds = frozenset(one.operation.value for one in operations)
    return Document(kinds, frozenset(names) - {"__typename"}, _every_field(parsed) & FIELDS.keys())


def judge(
    identity: Identity, document: Document, *, takes: AbstractSet[str] = EVERY_KIND
) -> Allowed | Refused:
    """Decide whether somebody may do all that a document asks for, by a way that takes these kinds of it."""
    needs = [
        Doing("a query", VIEWER),
        *(Doing(f"the field {name}", FIELDS[name]) for name in sorted(document.looks)),
    ]
    needs += [mutation(name) for name in sorted(document.mutations)]
    verdict = may(identity, *needs)
    if isinstance(verdict, Allowed) and document.kinds - takes:
        return Refused(f"this way takes no {' and no '.join(sorted(document.kinds - takes))}", 405)
    return verdict


def _brackets(text: str) -> int:
    """Return how deep brackets stand in each other, those in texts included: at least what the parser meets."""
    deep = deepest = 0
    for letter in text:
        if letter in "{[(":
            deep += 1
            deepest = max(deepest, deep)
        elif letter in "}])":
            deep = max(0, deep - 1)
    return deepest


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}


def _fields(root: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> set[str]:
    """Return the fields at the root of an operation, whatever fragments they are hidden in."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        for one in waiting.pop().selections:
            match one:
                case FieldNode():
                    found.add(one.name.value)
                case InlineFragmentNode():
                    waiting.append(one.selection_set)
                case FragmentSpreadNode() if one.name.value not in seen:
                    seen.add(one.name.value)
                    if (fragment := fragments.get(one.name.value)) is not None:
                        waiting.append(fragment.selection_set)
    return found


def _every_field(document: DocumentNode) -> frozenset[str]:
    """Return the names of all fields of a document, those of fragments that nobody uses included."""
    found: set[str] = set()
    waiting: list[SelectionSetNode] = [
        one.selection_set
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    while waiting:
        for one in waiting.pop().selections:
            if isinstance(one, FieldNode):
                found.add(one.name.value)
            if isinstance(one, FieldNode | InlineFragmentNode) and one.selection_set is not None:
                waiting.append(one.selection_set)
    return frozenset(found)


def _depth(document: DocumentNode) -> int:
    """Return how deep fields stand in each other, through fragments; more than MOST_DEEP when they go in circles."""
    fragments = _fragments(document)
    known: dict[str, int] = {}

    def below(selections: SelectionSetNode | None, left: int) -> int:
        if selections is None or left < 0:
            return 0
        deepest = 0
        for one in selections.selections:
            if isinstance(one, FieldNode):
                deepest = max(deepest, 1 + below(one.selection_set, left - 1))
            elif isinstance(one, InlineFragmentNode):
                deepest = max(deepest, below(one.selection_set, left - 1))
            elif isinstance(one, FragmentSpreadNode):
                deepest = max(deepest, spread(one.name.value, left - 1))
        return deepest

    def spread(name: str, left: int) -> int:
        if name not in known:
            known[name] = MOST_DEEP + 1  # what it is while it is being looked at: a circle is too deep
            fragment = fragments.get(name)
            known[name] = below(fragment.selection_set if fragment else None, left)
        return known[name]

    tops = [
        one
        for one in document.definitions
        if isinstance(one, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    return max((below(one.selection_set, _MOST_BRACKETS * 2) for one in tops), default=0)
