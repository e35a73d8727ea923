"""Runs in the supervisor. Which warnings get a line of their own, and which are only counted.

A batch may have thousands of files. Damage always has its line, and again at the end. Clipping has
one line for the whole batch, so that it hides nothing else. Of notes that differ only in names and
numbers the first few are shown.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from stemsplit.core.outcome import WarningKind
from stemsplit.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.batch.events import BatchDone, TrackDone

_NOTES_SHOWN = 5
"""Of each sort."""

_DETAILS = re.compile(r"“[^”]*”|\d+(?:[.,]\d+)*")
"""What differs between two notes of one sort."""


class WarningLines:
    """Turns the warnings of a batch into lines of text.

    Args:
        verbose: whether every warning gets its line.
    """

    def __init__(self, *, verbose: bool) -> None:
        """Nothing was shown yet."""
        self._verbose = verbose
        self._notes: Counter[str] = Counter()

    def of_track(self, event: TrackDone) -> Iterator[str]:
        """Yield the lines that follow that of a track."""
        for text, kind in zip(event.warnings, event.warning_kinds, strict=True):
            if self._is_shown(text, WarningKind(kind)):
                yield f"{kind}: {text}"

    def _is_shown(self, text: str, kind: WarningKind) -> bool:
        if self._verbose or kind is WarningKind.DAMAGED:
            return True
        if kind is WarningKind.CLIPPED:
            return False
        sort = _DETAILS.sub("", text)
        self._notes[sort] += 1
        return self._notes[sort] <= _NOTES_SHOWN

    def at_the_end(self, event: BatchDone) -> Iterator[str]:
        """Yield the lines that follow the counts of the batch."""
        where = "" if self._verbose else "; `stemsplit report OUT --html` lists them"
        if event.clipped:
            yield (
                f"  {counted(event.clipped, 'track')} clipped: `--clip rescale` makes such tracks "
                f"quieter instead, `--bit-depth 32f` keeps them as they are{where}"
            )
        hidden = sum(max(0, count - _NOTES_SHOWN) for count in self._notes.values())
        if hidden:
            yield (
                f"  {counted(hidden, 'more note')} like those above; `stemsplit report OUT --html` "
                "lists them"
            )
        for one in event.damages:
            yield f"  damaged: {one.source}: {one.message}"
        if event.damaged_earlier:
            yield (
                f"  {counted(event.damaged_earlier, 'damaged track')} done in earlier runs: "
                "`stemsplit report OUT` lists them"
            )
