"""Runs in the supervisor. Draws the progress bars of a batch and of a model's download.

Below the scrolling lines of a batch are one bar for the whole batch in audio time, a line for each
child, and lines that must not scroll away: the last failure, and why no track starts. All are
redrawn a few times a second from the latest status, at the current width of the terminal.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stemsplit.cli.display.progress_text import DRAINING, format_memory, format_progress
from stemsplit.core.text import clock_time, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import ConsoleOptions, RenderableType, RenderResult

    from stemsplit.core.progress import RunningTrack, Status

_REDRAWS_PER_SECOND = 4

_SCAN_DELAY_SECONDS = 1.5
"""A scan of the inputs is drawn only if it takes longer than this, which is rare."""

_NARROW, _VERY_NARROW = 72, 44
"""Columns below which a child's memory is left out, and below which its bar is as well."""

_WIDTHS_PER_BAR = 5
"""The width of the terminal divided by that of a child's bar."""

_ECHO_COLUMNS = 4
"""Kept free at the right, so that the echo of `^C^C` starts no new line."""

_OTHER_LINES = 6
"""Lines of the terminal that no child may use."""

_STEPS = {"starting": "starting", "loading": "loading", "closing": "finishing"}


def can_draw(console: Console) -> bool:
    """Return whether the console is a terminal that can move its cursor."""
    return console.is_interactive and console.file.isatty() and not console.is_dumb_terminal


@dataclass(slots=True)
class ScreenState:
    """What the screen shows.

    Attributes:
        verb: `separating` or `converting`.
        status: latest status of the batch; None while the inputs are scanned.
        separated: seconds of audio by source, where they are newer than `status`.
        ended: sources that have ended since `status`.
        failed: number of failed tracks.
        last_failure: the last failed track and why it failed.
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
    """Draws a `ScreenState` on a console that also prints lines."""

    def __init__(
        self, console: Console, state: ScreenState, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Store the injected dependencies; draw nothing yet."""
        self._state = state
        self._clock = clock
        self._console = console
        self._began = clock()
        self._live: Live | None = None

    def start(self) -> None:
        """Start drawing."""
        if self._live is None:
            self._live = Live(
                console=self._console,
                transient=True,
                refresh_per_second=_REDRAWS_PER_SECOND,
                get_renderable=self._picture,
            )
            self._live.start()

    def stop(self) -> None:
        """Stop drawing and clear the bars."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _picture(self) -> RenderableType:
        status = self._state.status
        if status is not None:
            return _Picture(self._state, status)
        waited = self._clock() - self._began
        if waited < _SCAN_DELAY_SECONDS:
            return Group()
        return Text(f"scanning the inputs, {clock_time(waited)}", style="dim")


class _Picture:
    """All lines, laid out for the current width."""

    def __init__(self, state: ScreenState, status: Status) -> None:
        self._state = state
        self._status = status

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(options.max_width - _ECHO_COLUMNS, 1)
        yield Constrain(Group(*self._lines(width, options.size.height)), width)

    def _lines(self, width: int, height: int) -> Iterator[RenderableType]:
        yield from self._batch(width)
        yield from self._children(width, height)
        if self._state.failed:
            text = f"{self._state.failed} failed, last {self._state.last_failure}"
            yield _line(text, "red")
        for text in (self._status.pausing, DRAINING if self._state.draining else ""):
            if text:  # never shortened
                yield Text(printable(text), style="yellow", no_wrap=False, overflow="fold")

    def _batch(self, width: int) -> Iterator[RenderableType]:
        done = self._status.audio_seconds
        total = max(done + self._status.audio_seconds_left, 1e-9)
        parts = format_progress(self._status)
        text = f"{min(done / total, 1):4.0%}  {parts[0]}"
        for part in parts[1:]:
            if len(text) + len(part) + 2 <= width:
                text += f", {part}"
        bar = Table.grid()  # a bare `ProgressBar` does not end its line
        bar.add_row(ProgressBar(total=total, completed=done, width=width))
        yield bar
        yield _line(text, "bold")

    def _children(self, width: int, height: int) -> Iterator[RenderableType]:
        running = [track for track in self._status.running if track.source not in self._state.ended]
        max_rows = max(height - _OTHER_LINES, 1)
        rows = [self._row(track, width) for track in running[:max_rows]]
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        for _ in rows[0][1:] if rows else ():
            table.add_column(no_wrap=True, justify="right")
        for row in rows:
            table.add_row(*row)
        yield table
        if len(running) > max_rows:
            yield _line(f"and {len(running) - max_rows} more", "dim")

    def _row(self, track: RunningTrack, width: int) -> list[RenderableType]:
        """Return the cells of a child's line, as many as fit the width."""
        again = f" (attempt {track.attempt})" if track.attempt > 1 else ""
        separated = max(self._state.separated.get(track.source, 0.0), track.audio_seconds)
        total = track.total_seconds
        share = min(separated / total, 1) if total else 0.0
        cells: list[RenderableType] = [
            Text(printable(PurePath(track.source).name) + again),
            Text(_STEPS.get(track.step, self._state.verb), style="cyan"),
        ]
        if width >= _VERY_NARROW:
            cells.append(ProgressBar(total=1.0, completed=share, width=width // _WIDTHS_PER_BAR))
        cells.append(Text(f"{share:4.0%}" if total else clock_time(separated)))
        if width >= _NARROW:
            cells.append(Text(format_memory(track.memory_bytes, track.ram_cap_bytes), style="dim"))
        return cells


def _line(text: str, style: str) -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


class DownloadBar:
    """The bar of one download, with the interface that `stemsplit.models.download` expects."""

    def __init__(self, name: str, console: Console) -> None:
        """Start the bar at 0 bytes."""
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._bars.add_task(f"downloading {name}", total=None)
        self._total = 0
        self._bars.start()

    @property
    def total(self) -> int:
        """Size of the download in bytes; 0 while unknown."""
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        self._bars.update(self._bar, total=size)

    def update(self, n: int) -> None:
        """Add `n` bytes."""
        self._bars.update(self._bar, advance=n)

    def reset(self) -> None:
        """Go back to 0 bytes."""
        self._bars.reset(self._bar)

    def close(self) -> None:
        """Stop the bar and leave it on the screen."""
        self._bars.stop()


def download_bar_factory(console: Console | None = None) -> Callable[[str], DownloadBar] | None:
    """Return what creates the bar of a download; None without a terminal that can draw it."""
    console = console or Console(stderr=True)
    return partial(DownloadBar, console=console) if can_draw(console) else None
