"""Messages and forms as Slack's blocks; what comes from payloads stands where Slack reads no markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    HeaderBlock,
    InputBlock,
    InputInteractiveElement,
    Option,
    PlainTextInputElement,
    PlainTextObject,
    RichTextBlock,
    RichTextElementParts,
    RichTextPreformattedElement,
    RichTextSectionElement,
    StaticSelectElement,
)
from slack_sdk.models.views import View

from openclaw_dagster.adapters.channel import Message, Question, cut, literal

#: Slack's own limits, in characters.
_HEADER, _TITLE, _OPTION, _LABEL = 150, 24, 75, 150
#: What the buttons are called, and how they look.
_BUTTONS = {
    "approve": ("Approve", "primary"),
    "acknowledge": ("Acknowledge", "primary"),
    "deny": ("Deny", "danger"),
}
#: Ids of buttons, views and fields begin so.
PREFIX = "claw_"
REASON = "reason:"
FIELD = "field:"

_Text = RichTextElementParts.Text
_Bold = RichTextElementParts.TextStyle(bold=True)


def blocks(message: Message) -> list[dict[str, Any]]:
    """Return a message as blocks; its buttons are there only while it waits for an answer."""
    about = [[_run(message.about, bold=True)], *([[_run(message.standing)]] if message.standing else [])]
    made: list[Block] = [HeaderBlock(text=_plain(message.title, _HEADER)), _lines(*about)]
    if message.lines:
        made.append(_lines(*([_run(f"{label}: ", bold=True), _run(value)] for label, value in message.lines)))
    for label, text in message.texts:
        body = RichTextPreformattedElement(elements=[_run(text)])
        head = RichTextSectionElement(elements=[_run(label, bold=True)])
        made.append(RichTextBlock(elements=[head, body]))
    if message.verdicts:
        open_page = ButtonElement(action_id=f"{PREFIX}open", text=_plain("Open its page"), url=message.link)
        buttons = [_button(verdict, message.ticket) for verdict in message.verdicts]
        made.append(ActionsBlock(elements=[*buttons, open_page]))
    else:
        made.append(_lines([RichTextElementParts.Link(url=message.link, text="Its page")]))
    return [block.to_dict() for block in made]


def fallback(message: Message) -> str:
    """Return what stands in a notification, where no blocks are shown."""
    said = " · ".join(part for part in (message.title, message.about, message.standing) if part)
    return escape(cut(literal(said), 500))


def escape(text: str) -> str:
    """Return a text in which Slack finds no mention, link or command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def form(verdict: str, message: Message, ticket: str) -> dict[str, Any]:
    """Return the form that is filled in together with an answer: a reason for a no, questions for a yes."""
    asked = _questions(message.questions) if verdict != "deny" else [_reason()]
    name, _ = _BUTTONS[verdict]
    made: dict[str, Any] = View(
        type="modal", callback_id=PREFIX + verdict, private_metadata=ticket, title=_plain(name, _TITLE),
        submit=_plain(name, _TITLE), close=_plain("Cancel", _TITLE),
        blocks=[_lines([_run(message.about, bold=True)], [_run(message.title)]), *asked],
    ).to_dict()  # fmt: skip
    return made


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


def _input(block: str, label: str, element: InputInteractiveElement) -> Block:
    return InputBlock(block_id=block, label=_plain(label, _LABEL), element=element, optional=False)


def _text(longest: int) -> InputInteractiveElement:
    return PlainTextInputElement(
        action_id="said", multiline=longest > 100, min_length=1, max_length=min(longest, 3_000)
    )


def _choice(question: Question) -> InputInteractiveElement:
    options = [
        Option(text=_plain(choice), value=str(number)) for number, choice in enumerate(question.choices)
    ]
    return StaticSelectElement(action_id="said", options=options)


def _button(verdict: str, ticket: str) -> ButtonElement:
    name, style = _BUTTONS[verdict]
    return ButtonElement(action_id=PREFIX + verdict, text=_plain(name), style=style, value=ticket)


def _plain(text: str, longest: int = _OPTION) -> PlainTextObject:
    return PlainTextObject(text=cut(literal(text), longest) or " ", emoji=False)


def _run(text: str, *, bold: bool = False) -> RichTextElementParts.Text:
    return _Text(text=cut(literal(text)) or " ", style=_Bold if bold else None)


def _lines(*lines: Any) -> Block:
    return RichTextBlock(elements=[RichTextSectionElement(elements=list(line)) for line in lines])
