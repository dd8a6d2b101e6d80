"""A host with a login page that lists people, once per module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .hosted import PEOPLE, Browser, Hosted


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """Give a running host in development, whose people log in by choosing their name."""
    with pytest.MonkeyPatch.context() as patch:
        host = Hosted(tmp_path_factory.mktemp("hosted"), patch, PEOPLE + "login: {local: true}\n")
        try:
            yield host
        finally:
            host.close()


@pytest.fixture(scope="module")
def people(hosted: Hosted) -> dict[str, Browser]:
    """Give a browser of everybody, logged in."""
    listed = ("vic", "olga", "april", "audrey", "ada", "nemo")
    return {person: hosted.browser().log_in(person) for person in listed}
