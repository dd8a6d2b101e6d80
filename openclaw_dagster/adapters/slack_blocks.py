"""Messages and forms as Slack's blocks; what comes from payloads stands where Slack reads no markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from openclaw_dagster.adapters.channel import Message, Question

Block: TypeAlias = dict[str, Any]

#: Slack's own limits, in characters.
_HEADER, _TITLE, _OPTION, _LABEL = 150, 24, 75, 150
#: Longest text of one part of a message that is shown; all of it stands on the page.
LONGEST = 2_400
#: What the buttons are called, and how they look.
_BUTTONS = {
    "approve": ("Approve", "primary"),
    "acknowledge": ("Acknowledge", "primary"),
    "deny": ("Deny", "danger"),
}
OPEN = "claw_open"
#: Ids of buttons, views and fields begin so.
PREFIX = "claw_"
REASON = "reason:"
FIELD = "field:"

# what would change how its neighbours look: controls, and the marks that turn the direction of writing
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def blocks(message: Message) -> list[Block]:
    """Return a message as blocks; its buttons are there only while it waits for an answer."""
    made: list[Block] = [{"type": "header", "text": _plain(message.title, _HEADER)}]
    made.append(
        _rich([_run(message.about, bold=True)], *([_run(message.standing)] if message.standing else []))
    )
    if message.lines:
        made.append(_rich(*([_run(f"{label}: ", bold=True), _run(value)] for label, value in message.lines)))
    for label, text in message.texts:
        inside = [
            {"type": "rich_text_section", "elements": [_run(label, bold=True)]},
            {
                "type": "rich_text_preformatted",
                "elements": [{"type": "text", "text": cut(literal(text)) or " "}],
            },
        ]
        made.append({"type": "rich_text", "elements": inside})
    buttons = [_button(verdict, message.ticket) for verdict in message.verdicts]
    if message.verdicts:
        made.append({"type": "actions", "elements": [*buttons, _open(message.link)]})
    else:
        made.append(_rich([{"type": "link", "url": message.link, "text": "Its page"}]))
    return made


def fallback(message: Message) -> str:
    """Return what stands in a notification, where no blocks are shown."""
    said = " · ".join(part for part in (message.title, message.about, message.standing) if part)
    return escape(cut(literal(said), 500))


def escape(text: str) -> str:
    """Return a text in which Slack finds no mention, link or command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def literal(text: str) -> str:
    """Return a text with what cannot be seen, or turns its neighbours around, written out."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text of at most so many characters, that says so when it was longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def form(verdict: str, message: Message, ticket: str) -> Block:
    """Return the form that is filled in together with an answer: a reason for a no, questions for a yes."""
    asked = _questions(message.questions) if verdict != "deny" else [_reason()]
    about = _rich([_run(message.about, bold=True)], [_run(message.title)])
    name, _ = _BUTTONS[verdict]
    return {
        "type": "modal", "callback_id": PREFIX + verdict, "private_metadata": ticket,
        "title": _plain(name, _TITLE), "submit": _plain(name), "close": _plain("Cancel"),
        "blocks": [about, *asked],
    }  # fmt: skip


def filled_in(values: Mapping[str, Any], questions: tuple[Question, ...]) -> tuple[str, dict[str, str]]:
    """Return the reason and the fields of a form that was sent; what was not asked is not there."""
    form: dict[str, str] = {}
    for question in questions:
        said = _value(values, FIELD + question.name)
        if question.choices:
            number = (
                int(said) if said.isascii() and said.isdigit() and len(said) < 4 else len(question.choices)
            )
            said = question.choices[number] if number < len(question.choices) else ""
        if said:
            form[question.name] = said
    return _value(values, REASON), form


def _value(values: Mapping[str, Any], block: str) -> str:
    said = _inside(_inside(values, block), "said")
    value = _inside(said, "selected_option").get("value", said.get("value"))
    return value if isinstance(value, str) else ""


def _inside(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _questions(questions: tuple[Question, ...]) -> list[Block]:
    return [
        _input(
            FIELD + one.name, one.name.replace("_", " "), _choice(one) if one.choices else _text(one.longest)
        )
        for one in questions
    ]


def _reason() -> Block:
    return _input(REASON, "Why it is denied", _text(2_000))


def _input(block: str, label: str, element: Block) -> Block:
    return {
        "type": "input", "block_id": block, "label": _plain(label, _LABEL), "element": element,
        "optional": False,
    }  # fmt: skip


def _text(longest: int) -> Block:
    return {
        "type": "plain_text_input", "action_id": "said", "multiline": longest > 100, "min_length": 1,
        "max_length": min(longest, 3_000),
    }  # fmt: skip


def _choice(question: Question) -> Block:
    options = [
        {"text": _plain(choice), "value": str(number)} for number, choice in enumerate(question.choices)
    ]
    return {"type": "static_select", "action_id": "said", "options": options}


def _button(verdict: str, ticket: str) -> Block:
    name, style = _BUTTONS[verdict]
    return {
        "type": "button", "action_id": PREFIX + verdict, "text": _plain(name), "style": style, "value": ticket,
    }  # fmt: skip


def _open(link: str) -> Block:
    return {"type": "button", "action_id": OPEN, "text": _plain("Open its page"), "url": link}


def _plain(text: str, longest: int = _OPTION) -> Block:
    return {"type": "plain_text", "text": cut(literal(text), longest), "emoji": False}


def _run(text: str, *, bold: bool = False) -> Block:
    run: Block = {"type": "text", "text": cut(literal(text)) or " "}
    return {**run, "style": {"bold": True}} if bold else run


def _rich(*lines: Any) -> Block:
    sections: list[Block] = []
    for line in lines:
        elements = list(line) if isinstance(line, list) else [line]
        sections.append({"type": "rich_text_section", "elements": elements})
    return {"type": "rich_text", "elements": sections}
