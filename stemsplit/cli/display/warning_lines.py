"""Runs in the supervisor. Selects the warnings that get a line; the rest are only counted.

A batch may have thousands of files. Damage always gets a line, and another at the end. Clipping
gets one line for the whole batch, so that it does not drown out the rest. Of notes that differ only
in names and numbers, the first few are shown.
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

_MAX_SIMILAR_NOTES = 5
"""Notes shown that differ only in names and numbers."""

_DETAILS = re.compile(r"“[^”]*”|\d+(?:[.,]\d+)*")
"""Names and numbers, in which similar notes differ."""


class WarningLines:
    """Turns the warnings of a batch into lines of text.

    Args:
        verbose: whether every warning gets a line.
    """

    def __init__(self, *, verbose: bool) -> None:
        """Start with no warnings."""
        self._verbose = verbose
        self._notes: Counter[str] = Counter()

    def after_track(self, event: TrackDone) -> Iterator[str]:
        """Yield the lines that follow the line of a finished track."""
        for text, kind in zip(event.warnings, event.warning_kinds, strict=True):
            if self._is_shown(text, WarningKind(kind)):
                yield f"{kind}: {text}"

    def _is_shown(self, text: str, kind: WarningKind) -> bool:
        if self._verbose or kind is WarningKind.DAMAGED:
            return True
        if kind is WarningKind.CLIPPED:
            return False
        pattern = _DETAILS.sub("", text)
        self._notes[pattern] += 1
        return self._notes[pattern] <= _MAX_SIMILAR_NOTES

    def after_batch(self, event: BatchDone) -> Iterator[str]:
        """Yield the lines that follow the summary of the batch."""
        pointer = "" if self._verbose else "; `stemsplit report OUT --html` lists them"
        if event.clipped:
            yield (
                f"  {counted(event.clipped, 'track')} clipped: use `--clip rescale` to turn them "
                f"down, or `--bit-depth 32f` to keep their samples{pointer}"
            )
        hidden = sum(max(0, count - _MAX_SIMILAR_NOTES) for count in self._notes.values())
        if hidden:
            yield (
                f"  {counted(hidden, 'similar note')} not shown; `stemsplit report OUT --html` "
                "lists them"
            )
        for damage in event.damages:
            yield f"  damaged: {damage.source}: {damage.message}"
        if event.damaged_earlier:
            yield (
                f"  {counted(event.damaged_earlier, 'damaged track')} done in earlier runs: "
                "`stemsplit report OUT` lists them"
            )
