"""The files a system is made of: read inside its folder only, and remembered."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

MAX_FILE = 256 * 1024


class NoFile(Exception):
    """A file cannot be had; the text says why and what to do, `there` what could be had instead."""

    def __init__(self, problem: str, there: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.there = there


class Folder(Protocol):
    """Gives the bytes of a file by its path relative to the system's folder."""

    def read(self, relative: str) -> bytes:
        """Return the file's bytes; NoFile when it is missing, not plain, too large, or outside."""


class DiskFolder:
    """A folder on disk that nothing climbs out of, by `..` or by links."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))

    def read(self, relative: str) -> bytes:
        """Return the file's bytes; NoFile when it is missing, not plain, too large, or outside."""
        normal = normalise(relative)
        path = self.root / normal
        real = Path(os.path.realpath(path))
        if real != path:
            raise NoFile(f"{relative} goes through a link: name the file itself")
        try:
            # O_NONBLOCK: opening a pipe or a device must not hang before it is known to be one
            handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise NoFile(f"{relative} does not exist", self._near(normal)) from None
        except OSError as error:
            raise NoFile(f"{relative} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NoFile(f"{relative} is not a plain file")
        with os.fdopen(handle, "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise NoFile(f"{relative} is larger than {MAX_FILE // 1024} KiB")
        return data

    def _near(self, normal: str) -> tuple[str, ...]:
        """Return the files beside the one that is missing, as they would be named."""
        parent = (self.root / normal).parent
        inside = sorted(parent.iterdir()) if parent.is_dir() else []
        return tuple(str(path.relative_to(self.root)) for path in inside if path.is_file())


class BundleFolder:
    """The files of a system as they were kept in the ledger with its digest."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def read(self, relative: str) -> bytes:
        """Return the kept text; NoFile when the system did not have the file."""
        try:
            return self.files[normalise(relative)].encode()
        except KeyError:
            raise NoFile(f"{relative} was not part of this system") from None


def normalise(relative: str) -> str:
    """Return `./policies/a.ts` as `policies/a.ts`; NoFile for a path that is absolute or climbs out."""
    path = PurePosixPath(relative)
    if "\\" in relative or not relative.isprintable() or path.is_absolute() or relative.startswith("~"):
        raise NoFile(f"{relative} is not a path inside the system's folder: write ./policies/name.policy.ts")
    if ".." in path.parts:
        raise NoFile(f"{relative} climbs out of the system's folder: keep the file beside the .claw file")
    return str(path)
