"""The one base error: its docstring is its message, and the message names the repair."""

from __future__ import annotations

import inspect
from typing import ClassVar


class ClawError(Exception):
    """{problem}"""

    #: Stable identifier of the kind of error; every code has an entry in `docs/errors.md`.
    code: ClassVar[str] = "CLAW000"

    def __init__(self, **details: object) -> None:
        """Fill the places of the class docstring with `details`, which stay readable as attributes."""
        self.details = details
        template = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(" ".join(template.split()).format(**details))

    def __getattr__(self, name: str) -> object:
        details = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(name)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.details))


def _rebuild(kind: type[ClawError], details: dict[str, object]) -> ClawError:
    return kind(**details)
