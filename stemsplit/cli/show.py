"""Runs in the supervisor. A batch's events on a terminal, in a log, or as JSON lines.

What was done goes to standard output; failures, warnings and progress to standard error.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, Self

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stemsplit import events
from stemsplit.errors import ExitCode
from stemsplit.text import clock_time, mebibytes, moment, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from stemsplit.events import Event


_PLANNED = {
    "leave": "done",
    "leave_failed": "failed before",
    "refuse": "refused",
}

_LAST_LINES = 5
"""Of a log, where no more is asked for."""


class Display(Protocol):
    """Shows events; a context manager around the batch."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(self, *_exception: object) -> None:
        """Stop showing and leave a clean screen."""

    @staticmethod
    def choose(*, json: bool, quiet: bool, verbose: bool) -> Display:
        """Make the display that the options ask for."""
        if json:
            return JsonDisplay()
        return TextDisplay(quiet=quiet, verbose=verbose)


class JsonDisplay(Display):
    """One JSON object a line, as `stemsplit.events` describes them."""

    def show(self, event: Event) -> None:
        """Print the event at once."""
        sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
        sys.stdout.buffer.flush()

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing to put away."""


class TextDisplay(Display):
    """A line for each track, and a bar for each running one where there is a terminal."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        """Open both streams; nothing is shown yet."""
        self._quiet = quiet
        self._verbose = verbose
        plain = {"markup": False, "highlight": False, "soft_wrap": True, "emoji": False}
        self._out = Console(**plain)  # type: ignore[arg-type]
        self._err = Console(stderr=True, **plain)  # type: ignore[arg-type]
        # Older versions of rich print an empty line for a bar that is disabled.
        self._drawn = drawn = self._err.is_terminal and not quiet
        if drawn and self._out.is_terminal:
            self._out = self._err  # lines on the bars' screen must go through the bars' console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=self._err,
            transient=True,
            disable=not drawn,
        )
        self._bar_of: dict[str, TaskID] = {}
        self._verb = "separate"
        self._total = 0
        self._ended = 0

    def __enter__(self) -> Self:
        """Nothing to prepare: the first track starts the bars."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Leave a clean screen."""
        if self._drawn:
            self._bars.stop()

    def show(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event
        """Show one event."""
        match event:
            case events.BatchStarted():
                self._total = event.tracks
                self._verb = "convert" if event.what == "conversion" else "separate"
            case events.TrackStarted():
                self._start_bar(event)
            case events.TrackProgress():
                if event.source in self._bar_of:
                    self._bars.update(self._bar_of[event.source], completed=event.audio_seconds)
            case events.PoolStarted():
                self._pool(event)
            case events.TrackRetried():
                self._retried(event)
            case events.Note():
                self._print(self._err, event.text)
            case events.TrackSkipped():
                self._skipped(event)
            case events.TrackPlanned():
                self._planned(event)
            case events.PlanMade():
                self._plan(event)
            case events.TrackDone():
                self._done(event)
            case events.TrackFailed():
                self._failed(event)
            case events.BatchDone():
                self._summary(event)

    def _skipped(self, event: events.TrackSkipped) -> None:
        count = self._count()
        if self._verbose:  # there may be thousands of them, and the summary counts them
            self._print(self._out, f"{count} skipped: {event.source}: {event.why}")

    def _planned(self, event: events.TrackPlanned) -> None:
        seconds = event.audio_seconds
        length = "" if seconds is None else f" ({clock_time(seconds)})"
        place = f" -> {event.paths[0]}" if event.action == "separate" else ""
        if not self._quiet:
            # Not by way of rich, which takes seconds over thousands of lines.
            print(
                f"{_PLANNED.get(event.action, self._verb)}: {event.source}{length}: "
                f"{event.why}{place}",
                file=self._out.file,
            )

    def _plan(self, event: events.PlanMade) -> None:
        for line in _plan_lines(event, self._verb):
            self._out.print(line)

    def _pool(self, event: events.PoolStarted) -> None:
        if self._verbose:
            lean = ", one instrument at a time" if event.lean else ""
            self._print(
                self._err,
                f"{event.jobs} at a time with {event.threads} threads each{lean}; memory: "
                f"{mebibytes(event.max_ram_bytes)} in all, "
                f"{mebibytes(event.max_ram_per_file_bytes)} a file, "
                f"{mebibytes(event.min_free_bytes)} left free",
            )

    def _retried(self, event: events.TrackRetried) -> None:
        self._end_bar(event.source)
        self._print(self._err, f"again: {event.source}: {event.message} Trying with {event.next}.")
        if self._verbose:
            self._tell_story(event.story, event.log_tail)

    def _start_bar(self, event: events.TrackStarted) -> None:
        if self._drawn:
            self._bars.start()
        self._bar_of[event.source] = self._bars.add_task(
            _name(event.source), total=event.audio_seconds
        )
        if self._verbose:
            seconds = event.audio_seconds
            length = "of unknown length" if seconds is None else clock_time(seconds)
            self._print(
                self._err,
                f"{_name(event.source)}: {event.format}, {event.sample_rate} Hz, "
                f"{event.channels} channels, {length}; "
                f"libraries {'preloaded' if event.preloaded else 'loaded in the child'}",
            )

    def _done(self, event: events.TrackDone) -> None:
        self._end_bar(event.source)
        memory = (
            ""
            if event.peak_memory_bytes is None
            else f", peak memory {mebibytes(event.peak_memory_bytes)}"
        )
        is_one_file = self._verb == "convert" and event.stems
        place = event.stems[0].path if is_one_file else event.destination
        self._print(
            self._out,
            f"{self._count()} done: {_name(event.source)}, {clock_time(event.audio_seconds)} "
            f"in {event.seconds:.1f} s{memory} -> {place}",
        )
        for warning in event.warnings:
            self._print(self._err, f"warning: {warning}")

    def _failed(self, event: events.TrackFailed) -> None:
        self._end_bar(event.source)
        self._err.print(
            f"{self._count()} failed{' before' if event.earlier else ''}: {event.source}: "
            f"{event.message} {event.remedy}".rstrip()
        )
        if self._verbose:
            self._tell_story(event.story, event.traceback or event.log_tail)
        elif event.log_tail and not event.traceback:
            self._tell_story((), _last_lines(event.log_tail))
        if event.log_file:
            self._err.print(f"    log: {event.log_file}")

    def _tell_story(self, story: Iterable[str], text: str) -> None:
        for line in (*story, *text.splitlines()):
            self._err.print(f"    {printable(line)}")

    def _summary(self, event: events.BatchDone) -> None:
        counts = [f"{event.done} {self._verb.removesuffix('e')}ed"]
        counts += [f"{event.skipped} done already"] if event.skipped else []
        counts += [f"{event.failed} failed"] if event.failed else []
        counts += [f"{event.not_started} not started"] if event.not_started else []
        if event.late:
            of_them = "" if event.late == event.not_started else f", {event.late} of them"
            counts[-1] += f"{of_them} for want of time"
        text = ", ".join(counts)
        if event.done:
            text += (
                f"; {clock_time(event.audio_seconds)} of audio in {clock_time(event.seconds)}, "
                f"{event.audio_seconds / event.seconds:.1f} times real time"
            )
            if event.peak_memory_bytes is not None:
                text += f", peak memory {mebibytes(event.peak_memory_bytes)}"
        if event.exit_code == ExitCode.DONE:
            self._print(self._out, text + ".")
        else:
            self._err.print(text + ".")
        for failure in event.failures:
            self._print(self._err, f"  failed: {failure.source}: {failure.message}")

    def _count(self) -> str:
        self._ended += 1
        return f"[{self._ended}/{self._total}]"

    def _end_bar(self, source: str) -> None:
        if source in self._bar_of:
            self._bars.remove_task(self._bar_of.pop(source))

    def _print(self, console: Console, text: str) -> None:
        if not self._quiet:
            console.print(text)


class DownloadBar:
    """A bar for one download, with the interface that `stemsplit.models.fetch` asks for."""

    def __init__(self, name: str) -> None:
        """Show an empty bar on standard error."""
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar = self._bars.add_task(f"fetching {name}", total=None)
        self._total = 0
        self._bars.start()

    @property
    def total(self) -> int:
        """The size of the download in bytes; 0 until it is known."""
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
        """Leave the bar as it stands."""
        self._bars.stop()


def download_display() -> Callable[[str], DownloadBar] | None:
    """Give what makes a bar for a download, or None where there is no terminal for it."""
    return DownloadBar if Console(stderr=True).is_terminal else None


def _plan_lines(event: events.PlanMade, verb: str) -> Iterator[str]:
    counts = [f"{event.separate} to {verb}"]
    counts += [f"{event.leave} done"] if event.leave else []
    counts += [f"{event.leave_failed} failed before"] if event.leave_failed else []
    refused = event.refuse + event.problems
    counts += [f"{refused} that cannot be"] if refused else []
    yield ", ".join(counts)
    if event.separate == 0:
        return
    together = f"{event.jobs} at a time with {event.threads} threads each"
    yield (
        f"audio {clock_time(event.audio_seconds)}; time about "
        f"{clock_time(event.predicted_seconds)}, {together}"
    )
    yield (
        f"memory about {mebibytes(event.predicted_memory_bytes)} of "
        f"{mebibytes(event.max_ram_bytes)}"
    )
    short = "" if event.predicted_bytes <= event.free_bytes else ": not enough"
    yield (
        f"disk about {mebibytes(event.predicted_bytes)} of {mebibytes(event.free_bytes)} that are "
        f"free{short}"
    )
    if event.until is not None:
        yield f"{event.ends_in_time} of {event.separate} until {moment(event.until)}"


def _last_lines(log: str) -> str:
    """Give the most telling lines of a log: the last ones, or those where it says "Fatal"."""
    lines = log.rstrip().splitlines()
    fatal = [number for number, line in enumerate(lines) if line.startswith("Fatal Python error")]
    start = max(0, fatal[-1] - 1) if fatal else -_LAST_LINES
    return "\n".join(lines[start:][:_LAST_LINES])


def _name(path: str) -> str:
    return printable(PurePath(path).name)
