"""Runs in the supervisor. Walks folders, and recognises stems among the files in them."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.reader import JournalReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class KnownStems:
    """The stems in the journals of all output folders above the files of a search."""

    def __init__(self) -> None:
        """Read no journal yet; each is read once."""
        self._by_folder: dict[Path, tuple[tuple[Path, frozenset[bytes]], ...]] = {}

    def __contains__(self, path: Path) -> bool:
        """Return whether a file is a stem according to the journal of a folder above it."""
        absolute = path.absolute()
        return any(
            os.fsencode(os.path.relpath(absolute, output)) in stems
            for output, stems in self._journals_above(absolute.parent)
        )

    def _journals_above(self, folder: Path) -> tuple[tuple[Path, frozenset[bytes]], ...]:
        if folder not in self._by_folder:
            above = () if folder == folder.parent else self._journals_above(folder.parent)
            own = _stems_in_journal(folder)
            self._by_folder[folder] = (*above, (folder, own)) if own else above
        return self._by_folder[folder]


def _stems_in_journal(folder: Path) -> frozenset[bytes]:
    try:
        journal = JournalReader.open_existing(OutputLayout(folder).journal, folder)
        if journal is None:
            return frozenset()
        with journal:
            return journal.separated_files()
    except StemsplitError:  # the journal is damaged, of a newer version, or of another program
        return frozenset()


class FolderWalk:
    """The folders below a folder, each once; folders behind links come last."""

    def __init__(self, top: Path, output: Path | None) -> None:
        """Begin with `top`; skip `output`, unless they are the same."""
        self._next = deque([top])
        self._links: deque[Path] = deque()
        self._visited: set[tuple[int, int]] = set()
        if output is not None and top.absolute() != output:
            with contextlib.suppress(OSError):
                status = output.stat()
                self._visited.add((status.st_dev, status.st_ino))

    def add(self, parent: Path, entries: list[os.DirEntry[str]]) -> None:
        """Add the subfolders of `parent`, to be visited next, in order."""
        paths = [(parent / entry.name, entry.is_symlink()) for entry in entries]
        self._links.extend(path for path, is_link in paths if is_link)
        self._next.extendleft(reversed([path for path, is_link in paths if not is_link]))

    def __iter__(self) -> Iterator[Path]:
        """Yield each folder; its subfolders may be added meanwhile."""
        while self._next or self._links:
            folder = self._next.popleft() if self._next else self._links.popleft()
            try:
                status = folder.stat()
            except OSError:
                yield folder  # the caller meets the same error and reports it
                continue
            if (status.st_dev, status.st_ino) not in self._visited:
                self._visited.add((status.st_dev, status.st_ino))
                yield folder


def false_on_error(check: Callable[[], bool]) -> bool:
    """Return the result of `check`, or False if it raises an `OSError`."""
    try:
        return check()
    except OSError:  # a link that leads to itself
        return False
