"""Runs in the supervisor. The folders below one, and the stems that the journals in them know."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.reader import JournalReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Stems:
    """The stems that the journals of output folders know, each folder looked into once."""

    def __init__(self, *, none: bool) -> None:
        """Take no file for a stem if `none`."""
        self._none = none
        self._known: dict[Path, tuple[tuple[Path, frozenset[bytes]], ...]] = {}

    def hold(self, path: Path) -> bool:
        """Tell whether a file is a stem, by the journal of any folder above it."""
        if self._none:
            return False
        absolute = path.absolute()
        return any(
            os.fsencode(os.path.relpath(absolute, output)) in stems
            for output, stems in self._above(absolute.parent)
        )

    def _above(self, folder: Path) -> tuple[tuple[Path, frozenset[bytes]], ...]:
        if folder not in self._known:
            above = () if folder == folder.parent else self._above(folder.parent)
            own = self._of(folder)
            self._known[folder] = (*above, (folder, own)) if own else above
        return self._known[folder]

    @staticmethod
    def _of(folder: Path) -> frozenset[bytes]:
        try:
            journal = JournalReader.read(OutputLayout(folder).journal, folder)
            if journal is None:
                return frozenset()
            with journal:
                return journal.stems()
        except StemsplitError:  # of a newer stemsplit, damaged, or a stranger's
            return frozenset()


class Folders:
    """The folders below one, each once, those behind links last; grows while it is gone through."""

    def __init__(self, top: Path, output: Path | None) -> None:
        """Begin with `top`; leave out `output`, unless it is that."""
        self._next = deque([top])
        self._links: deque[Path] = deque()
        self._seen: set[tuple[int, int]] = set()
        if output is not None and top.absolute() != output:
            self._leave_out(output)

    def _leave_out(self, folder: Path) -> None:
        try:
            status = folder.stat()
        except OSError:
            return
        self._seen.add((status.st_dev, status.st_ino))

    def add(self, parent: Path, entries: list[os.DirEntry[str]]) -> None:
        """Take in what lies in `parent`, to come next, in order."""
        paths = [(parent / entry.name, entry.is_symlink()) for entry in entries]
        self._links.extend(path for path, is_link in paths if is_link)
        self._next.extendleft(reversed([path for path, is_link in paths if not is_link]))

    def __iter__(self) -> Iterator[Path]:
        """Go through them."""
        while self._next or self._links:
            folder = self._next.popleft() if self._next else self._links.popleft()
            try:
                status = folder.stat()
            except OSError:
                yield folder  # whoever lists it meets the same error, and tells
                continue
            if (status.st_dev, status.st_ino) not in self._seen:
                self._seen.add((status.st_dev, status.st_ino))
                yield folder


def tells(question: Callable[[], bool]) -> bool:
    """Ask an entry of a folder something; False where that cannot be told."""
    try:
        return question()
    except OSError:  # a link that leads to itself
        return False
