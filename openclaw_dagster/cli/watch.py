"""Tells when a file of the project has changed."""

from __future__ import annotations

from pathlib import Path


class Watch:
    """A folder and when its files were last written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = self._marks()

    def _marks(self) -> dict[Path, int]:
        # what Python keeps of an action's module comes with loading it, and is no change
        files = (
            path for path in self.folder.rglob("*") if "__pycache__" not in path.parts and path.is_file()
        )
        return {path: path.stat().st_mtime_ns for path in files}

    def changed(self) -> bool:
        """Whether a file was changed, came or went since the last look."""
        try:
            marks = self._marks()
        except OSError:  # an editor replaced a file between the listing and the look
            return False
        before, self.seen = self.seen, marks
        return marks != before
