"""TypeScript in, JavaScript out, every line and column where it was: types become spaces."""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter_typescript
from tree_sitter import Language, Node, Parser

from openclaw_dagster.policy.verdict import PolicyFailed

#: The name that the default export has in the JavaScript; with `const ` and `=` as long as `export default`.
DEFAULT = "$policy"

_LANGUAGE = Language(tree_sitter_typescript.language_typescript())

_BLANK = frozenset(
    {
        "accessibility_modifier", "asserts_annotation", "implements_clause", "omitting_type_annotation",
        "opting_type_annotation", "override_modifier", "type_annotation", "type_arguments", "type_parameters",
        "type_predicate_annotation",
    }
)  # fmt: skip
_BLANK_STATEMENTS = frozenset(
    {
        "abstract_method_signature", "ambient_declaration", "function_signature", "index_signature",
        "interface_declaration", "method_signature", "type_alias_declaration",
    }
)  # fmt: skip
_BLANK_WORDS = frozenset({"?", "!", "abstract", "declare", "readonly"})
_OPTIONAL_OWNERS = frozenset(
    {
        "abstract_class_declaration", "method_definition", "non_null_expression", "optional_parameter",
        "public_field_definition", "required_parameter", "variable_declarator",
    }
)  # fmt: skip
_REFUSED = {
    "await_expression": "a policy answers at once: remove await",
    "decorator": "decorators do not exist in a policy: call the function instead",
    "enum_declaration": "enums make code: use a union of texts, such as type Hold = 'address' | 'carrier'",
    "import_alias": "a policy imports nothing at run time: use import type, or paste the code",
    "internal_module": "namespaces make code: use plain functions",
    "module": "modules make code: use plain functions",
    "type_assertion": "write the cast as `value as Type`",
}
_ABSENT = {
    "Date": "clock", "performance": "clock", "setTimeout": "clock", "setInterval": "clock",
    "crypto": "randomness",
}  # fmt: skip
_ASI_HAZARD = b"([`+-/*.,<"


def strip_types(file: str, source: str) -> str:
    """Return `source` as JavaScript whose default export is the constant `$policy`.

    Raises `PolicyFailed` with the line and column for what is not TypeScript, or not a policy.
    """
    return _Stripper(file, source).run()


def place(source: str, offset: int) -> tuple[int, int]:
    """Return the line and column, from 1 and in characters, of a byte offset in `source`."""
    before = source.encode()[:offset].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class _Stripper:
    def __init__(self, file: str, source: str) -> None:
        self.file, self.source = file, source
        self.code = source.encode()
        self.out = bytearray(self.code)
        self.tail = ""
        self.exported = False

    def run(self) -> str:
        root = Parser(_LANGUAGE).parse(self.code).root_node
        if root.has_error:
            raise self.unreadable(root)
        self.refuse_absent(root)
        self.visit(root)
        if not self.exported:
            problem = "nothing is exported: write export default function (inputs) { … }"
            raise PolicyFailed(file=self.file, line=1, column=1, problem=problem)
        return self.out.decode() + self.tail

    def fail(self, node: Node, problem: str) -> PolicyFailed:
        line, column = place(self.source, node.start_byte)
        return PolicyFailed(file=self.file, line=line, column=column, problem=problem)

    def unreadable(self, root: Node) -> PolicyFailed:
        node = next(node for node in _walk(root) if node.is_error or node.is_missing)
        if node.is_missing:
            return self.fail(node, f"this is not TypeScript: {node.type} is missing here")
        text = self.text(node).strip().split("\n")[0]
        if not self.code[node.end_byte :].strip():
            return self.fail(node, f"this is not TypeScript: what begins with {text[:40]!r} is not finished")
        return self.fail(node, f"this is not TypeScript near {text[:40]!r}")

    def refuse_absent(self, root: Node) -> None:
        """Refuse the clock and randomness where they are written, unless the policy has that name itself."""
        own = {self.text(name) for name in map(_bound_name, _walk(root)) if name}
        for node in _walk(root):
            word = self.text(node) if node.type in ("identifier", "member_expression") else ""
            missing = "randomness" if word == "Math.random" else _ABSENT.get(word)
            if missing and word not in own:
                raise self.fail(node, f"a policy has no {missing}: pass what {word} would give as an input")

    def text(self, node: Node) -> str:
        return self.code[node.start_byte : node.end_byte].decode(errors="ignore")

    def visit(self, root: Node) -> None:
        # Not recursive: the nesting of a source is bounded by its size only.
        pending = [root]
        while pending:
            node = pending.pop()
            if self.handle(node):
                pending += reversed(node.children)

    def handle(self, node: Node) -> bool:
        """Blank what `node` says about types; return whether to look inside."""
        kind = node.type
        if kind in _REFUSED:
            raise self.fail(node, _REFUSED[kind])
        if kind == "import" and node.parent is not None and node.parent.type == "call_expression":
            raise self.fail(node, _REFUSED["import_alias"])
        if kind in _BLANK_STATEMENTS:
            return self.blank_statement(node)
        if kind in _BLANK:
            return self.blank_type(node)
        match kind:
            case "import_statement":
                return self.import_statement(node)
            case "export_statement":
                return self.export_statement(node)
            case "as_expression" | "satisfies_expression":
                self.blank(node.children[0].end_byte, node.end_byte)
                self.end_statement(node.children[0].end_byte, node.end_byte)
            case "required_parameter" | "optional_parameter":
                return self.parameter(node)
            case "public_field_definition":
                if any(child.type in ("declare", "abstract") for child in node.children):
                    return self.blank_statement(node)
            case word if word in _BLANK_WORDS and node.parent is not None:
                if node.parent.type in _OPTIONAL_OWNERS:
                    self.blank(node.start_byte, node.end_byte)
        return True

    def blank(self, start: int, end: int) -> None:
        for at in range(start, end):
            if self.out[at] not in b"\r\n":
                self.out[at] = 0x20

    def end_statement(self, start: int, end: int) -> None:
        """Put a `;` in the blank when the next line would otherwise be read as its continuation."""
        rest = self.code[end:]
        bare = rest.lstrip()
        if b"\n" in rest[: len(rest) - len(bare)] and bare[:1] and bare[:1] in _ASI_HAZARD[:6]:
            self.out[start] = ord(";")

    def blank_statement(self, node: Node) -> bool:
        self.blank(node.start_byte, node.end_byte)
        self.out[node.start_byte] = ord(";")
        return False

    def blank_type(self, node: Node) -> bool:
        parent = node.parent
        self.blank(node.start_byte, node.end_byte)
        if parent is not None and parent.type == "arrow_function" and b"\n" in (node.text or b""):
            # No line may end before `=>`, nor after `return`: the bracket moves over the type.
            before = node.type == "type_parameters"
            paren = (
                self.code.index(b"(", node.end_byte) if before else self.code.rindex(b")", 0, node.start_byte)
            )
            self.out[paren] = 0x20
            self.out[node.start_byte if before else node.end_byte - 1] = ord("(" if before else ")")
        if parent is not None and parent.type == "public_field_definition" and node.next_sibling is None:
            self.out[node.start_byte] = ord(";")
        return False

    def parameter(self, node: Node) -> bool:
        if any(
            child.type in ("accessibility_modifier", "readonly", "override_modifier")
            for child in node.children
        ):
            raise self.fail(node, "a parameter cannot declare a field here: write this.name = name inside")
        if node.children[0].type == "this":
            comma = node.next_sibling
            self.blank(node.start_byte, comma.end_byte if comma and comma.type == "," else node.end_byte)
            return False
        return True

    def import_statement(self, node: Node) -> bool:
        named = [child for child in _walk(node) if child.type == "import_specifier"]
        typed = all(child.children[0].type == "type" for child in named) if named else False
        if not typed and not any(child.type == "type" for child in node.children):
            raise self.fail(node, _REFUSED["import_alias"])
        return self.blank_statement(node)

    def export_statement(self, node: Node) -> bool:
        words = [child.type for child in node.children]
        if "type" in words:
            return self.blank_statement(node)
        if "from" in words or "=" in words:
            raise self.fail(
                node, "a policy exports its own function: write export default function (inputs) { … }"
            )
        if "default" in words:
            return self.export_default(node)
        if "export_clause" in words:
            return self.export_clause(node)
        self.blank(node.start_byte, node.children[1].start_byte)
        return True

    def export_default(self, node: Node) -> bool:
        if self.exported:
            raise self.fail(node, "there are two default exports: keep one")
        self.exported = True
        keyword = next(child for child in node.children if child.type == "default")
        if b"\n" in self.code[node.start_byte : keyword.end_byte]:
            raise self.fail(node, "write export default on one line")
        value = node.children[node.children.index(keyword) + 1]
        self.refuse_async(value)
        name = value.child_by_field_name("name")
        if value.type == "function_declaration" and name is not None:
            # A named function stays a declaration, so that it is known above its own line too.
            self.tail += f"\nconst {DEFAULT} = {self.text(name)};"
            self.blank(node.start_byte, keyword.end_byte)
            return True
        self.blank(node.start_byte, keyword.end_byte)
        self.out[node.start_byte : node.start_byte + 14] = f"const {DEFAULT}=".encode()
        if value.type == "function_expression":
            self.end_expression(value)
        return True

    def end_expression(self, value: Node) -> None:
        """Keep an anonymous function apart from the line after it; as a declaration it needed no `;`."""
        rest = self.code[value.end_byte :].lstrip()
        if rest[:1] and rest[:1] in _ASI_HAZARD:
            raise self.fail(value, "write a ; after the exported function")

    def export_clause(self, node: Node) -> bool:
        for child in _walk(node):
            if child.type == "export_specifier":
                alias, name = child.child_by_field_name("alias"), child.child_by_field_name("name")
                if alias is not None and name is not None and self.text(alias) == "default":
                    self.exported = True
                    self.tail += f"\nconst {DEFAULT} = {self.text(name)};"
        return self.blank_statement(node)

    def refuse_async(self, value: Node) -> None:
        for child in value.children:
            if child.type in ("async", "*"):
                raise self.fail(value, "a policy answers at once: write a plain function, without async or *")


def _walk(root: Node) -> Iterator[Node]:
    pending = [root]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(node.children)


def _bound_name(node: Node) -> Node | None:
    if node.type in (
        "variable_declarator",
        "function_declaration",
        "class_declaration",
        "function_expression",
    ):
        return node.child_by_field_name("name")
    if node.type in ("required_parameter", "optional_parameter"):
        return node.child_by_field_name("pattern")
    return None
