"""Runs in the supervisor. The bars of a batch, below the lines that scroll by.

One bar for the whole in audio time, a line for each child, and what must not scroll away: the last
failure, and why nothing is started. All of it is drawn anew a few times a second from the last
that was told, as wide as the terminal is by then.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.console import Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stemsplit.cli.display.progress_text import memory_of, progress_of
from stemsplit.core.text import clock_time, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from stemsplit.core.progress import RunningTrack, Status

_REDRAWN_PER_SECOND = 4

_QUIET_SECONDS = 1.5
"""Looking through the inputs takes less than this as a rule; then nothing is drawn about it."""

_NARROW, _VERY_NARROW = 72, 44
"""Columns below which a child's memory is left out, and then its bar."""

_BAR_SHARE = 5
"""A child's bar is one part in so many of the width."""

_ECHO_COLUMNS = 4
"""Left free at the right: `^C^C`, as terminals echo it, must not begin another line."""

_OTHER_LINES = 6
"""Lines of the terminal that are not for children."""

DRAINING = "finishing what is being separated; press Ctrl-C again to stop now"

_STEPS = {"starting": "starting", "loading": "loading", "closing": "finishing"}


def can_draw(console: Console) -> bool:
    """Tell whether there is a terminal that can move its cursor."""
    return console.is_interactive and console.file.isatty() and not console.is_dumb_terminal


@dataclass(slots=True)
class Shown:
    """What is drawn.

    Attributes:
        verb: `separating` or `converting`.
        status: of the batch, as last told; None while the inputs are looked through.
        separated: seconds of audio by source, where more is known than `status` tells.
        ended: sources that have ended since it was told.
        failed: how many tracks have failed.
        last_failure: which one and why.
        draining: whether Ctrl-C was pressed once.
    """

    verb: str = "separating"
    status: Status | None = None
    separated: dict[str, float] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    failed: int = 0
    last_failure: str = ""
    draining: bool = False


class Screen:
    """Draws what is shown, on a console that lines are printed on too."""

    def __init__(
        self, console: Console, shown: Shown, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Draw nothing yet."""
        self._shown = shown
        self._clock = clock
        self._console = console
        self._began = clock()
        self._live: Live | None = None

    def start(self) -> None:
        """Draw from now on."""
        if self._live is None:
            self._live = Live(
                console=self._console,
                transient=True,
                refresh_per_second=_REDRAWN_PER_SECOND,
                get_renderable=self._picture,
            )
            self._live.start()

    def stop(self) -> None:
        """Leave a clean screen."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _picture(self) -> RenderableType:
        status = self._shown.status
        if status is not None:
            return _Picture(self._shown, status)
        waited = self._clock() - self._began
        if waited < _QUIET_SECONDS:
            return Group()
        return Text(f"looking through the inputs, {clock_time(waited)}", style="dim")


class _Picture:
    """All lines, for whatever width there is."""

    def __init__(self, shown: Shown, status: Status) -> None:
        self._shown = shown
        self._status = status

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - _ECHO_COLUMNS, 1)
        yield Constrain(Group(*self._lines(width, options.size.height)), width)

    def _lines(self, width: int, height: int) -> Iterator[RenderableType]:
        yield from self._whole(width)
        yield from self._children(width, height)
        if self._shown.failed:
            text = f"{self._shown.failed} failed, last {self._shown.last_failure}"
            yield _line(text, "red")
        for text in (self._status.pausing, DRAINING if self._shown.draining else ""):
            if text:  # whole, however many lines it takes
                yield Text(printable(text), style="yellow", no_wrap=False, overflow="fold")

    def _whole(self, width: int) -> Iterator[RenderableType]:
        done = self._status.audio_seconds
        total = max(done + self._status.audio_seconds_left, 1e-9)
        words = progress_of(self._status)
        text = f"{min(done / total, 1):4.0%}  {words[0]}"
        for word in words[1:]:
            if len(text) + len(word) + 2 <= width:
                text += f", {word}"
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=total, completed=done, width=width))
        yield bar
        yield _line(text, "bold")

    def _children(self, width: int, height: int) -> Iterator[RenderableType]:
        running = [one for one in self._status.running if one.source not in self._shown.ended]
        most = max(height - _OTHER_LINES, 1)
        rows = [self._row(track, width) for track in running[:most]]
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for _ in rows[0][1:] if rows else ():
            table.add_column(no_wrap=True, justify="right")
        for row in rows:
            table.add_row(*row)
        yield table
        if len(running) > most:
            yield _line(f"and {len(running) - most} more", "dim")

    def _row(self, track: RunningTrack, width: int) -> list[RenderableType]:
        """Give a child's cells: as many for each as there is room for."""
        again = f" (attempt {track.attempt})" if track.attempt > 1 else ""
        separated = max(self._shown.separated.get(track.source, 0.0), track.audio_seconds)
        total = track.total_seconds
        share = min(separated / total, 1) if total else 0.0
        cells: list[RenderableType] = [
            Text(printable(PurePath(track.source).name) + again),
            Text(_STEPS.get(track.step, self._shown.verb), style="cyan"),
        ]
        if width >= _VERY_NARROW:
            cells.append(ProgressBar(total=1.0, completed=share, width=width // _BAR_SHARE))
        cells.append(Text(f"{share:4.0%}" if total else clock_time(separated)))
        if width >= _NARROW:
            cells.append(Text(memory_of(track.memory_bytes, track.ram_cap_bytes), style="dim"))
        return cells


def _line(text: str, style: str) -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")
