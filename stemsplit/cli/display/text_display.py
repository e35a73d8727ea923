"""Runs in the supervisor. Shows a batch's events as lines of text.

Finished tracks go to standard output; failures, warnings and progress to standard error. If that is
a terminal, bars are drawn below the lines (`stemsplit.cli.display.bars`); otherwise a progress line
is printed once a minute.
"""

from __future__ import annotations

import time
from operator import attrgetter
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.console import Console

from stemsplit.batch import events
from stemsplit.cli.display.bars import (
    Screen,
    ScreenState,
    can_draw,
    download_bar_factory,
)
from stemsplit.cli.display.progress_text import DRAINING, format_progress, warning_counts
from stemsplit.cli.display.warning_lines import WarningLines
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import clock_time, counted, mebibytes, moment, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from stemsplit.batch.events import Event
    from stemsplit.cli.display.bars import DownloadBar
    from stemsplit.core.progress import Status


_ACTIONS = {
    "leave": "done",
    "leave_failed": "failed before",
    "refuse": "refused",
    "put_off": "later",
}

_LOG_LINES = 5
"""Lines shown of a log without `--verbose`."""

_PROGRESS_LINE_SECONDS = 60.0
"""Interval between progress lines where bars cannot be drawn."""


class TextDisplay:
    """Prints a line for each track, and draws bars where there is a terminal."""

    def __init__(
        self, *, quiet: bool, verbose: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open both streams; show nothing yet."""
        self._quiet = quiet
        self._verbose = verbose
        self._clock = clock
        plain = {"markup": False, "highlight": False, "soft_wrap": True, "emoji": False}
        self._out = Console(**plain)  # type: ignore[arg-type]
        self._err = Console(stderr=True, **plain)  # type: ignore[arg-type]
        self._has_bars = can_draw(self._err) and not quiet
        if self._has_bars and self._out.is_terminal:
            self._out = self._err  # lines above the bars must go through their console
        self._state = ScreenState()
        self._screen = Screen(self._err, self._state)
        self._warnings = WarningLines(verbose=verbose)
        self._verb = "separate"
        self._total = 0
        self._ended = 0
        self._next_progress_line = 0.0
        self._draining_to_show = False

    def __enter__(self) -> Self:
        """Start the bars where they can be drawn."""
        if self._has_bars:
            self._screen.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Clear the bars."""
        self._screen.stop()

    def show_draining(self) -> None:
        """Show soon that Ctrl-C was pressed once; safe to call in a signal handler."""
        self._state.draining = self._draining_to_show = True

    def download_progress(self) -> Callable[[str], DownloadBar] | None:
        """Return what replaces the bars with that of a download; None if nothing is drawn."""
        create_bar = None if self._quiet else download_bar_factory(self._err)
        if create_bar is None:
            return None

        def begin(name: str) -> DownloadBar:
            self._screen.stop()
            return create_bar(name)

        return begin

    def show(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case per event
        """Show one event."""
        if self._draining_to_show and not self._has_bars:
            self._draining_to_show = False
            self._err.print(f"stemsplit: {DRAINING}.")
        match event:
            case events.BatchStarted():
                self._total = event.tracks
                if self._verbose and event.engine is not None:
                    self._print(self._err, f"engine: {event.engine}")
                if event.what == "conversion":
                    self._verb, self._state.verb = "convert", "converting"
            case events.TrackStarted():
                self._started(event)
            case events.TrackProgress():
                self._state.separated[event.source] = event.audio_seconds
            case events.BatchProgress():
                self._progress(event.status)
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
                for line in _plan_lines(event, self._verb):
                    self._out.print(line)
            case events.TrackDone():
                self._done(event)
            case events.TrackFailed():
                self._failed(event)
            case events.BatchDone():
                self._screen.stop()
                self._summary(event)

    def _progress(self, status: Status) -> None:
        self._state.status = status
        self._state.ended.clear()
        if self._has_bars:
            self._screen.start()
        elif self._clock() >= self._next_progress_line:
            if self._next_progress_line:  # at the first status nothing is done yet
                self._print(self._err, ", ".join(format_progress(status)))
            self._next_progress_line = self._clock() + _PROGRESS_LINE_SECONDS

    def _skipped(self, event: events.TrackSkipped) -> None:
        count = self._next_count()
        if self._verbose:  # may be thousands; the summary counts them
            self._print(self._out, f"{count} skipped: {event.source}: {event.why}")

    def _planned(self, event: events.TrackPlanned) -> None:
        seconds = event.audio_seconds
        length = "" if seconds is None else f" ({clock_time(seconds)})"
        destination = f" -> {event.paths[0]}" if event.action == "separate" else ""
        self._screen.stop()
        if not self._quiet:
            # `Console.print` needs seconds for thousands of lines.
            print(
                f"{_ACTIONS.get(event.action, self._verb)}: {event.source}{length}: "
                f"{event.why}{destination}",
                file=self._out.file,
            )

    def _pool(self, event: events.PoolStarted) -> None:
        if self._verbose:
            lean = ", one instrument at a time" if event.lean else ""
            self._print(
                self._err,
                f"{_concurrency(event)}{lean}; memory: "
                f"{mebibytes(event.max_ram_bytes)} in total, "
                f"{mebibytes(event.max_ram_per_file_bytes)} per track, "
                f"{mebibytes(event.min_free_bytes)} kept free",
            )

    def _retried(self, event: events.TrackRetried) -> None:
        self._remove(event.source)
        self._print(
            self._err,
            f"retry: {event.source}: {event.message} Retrying with {event.next}.",
            "yellow",
        )
        if self._verbose:
            self._print_story(event.story, event.log_tail)

    def _started(self, event: events.TrackStarted) -> None:
        if self._verbose:
            seconds = event.audio_seconds
            length = "unknown duration" if seconds is None else clock_time(seconds)
            self._print(
                self._err,
                f"{_name(event.source)}: {event.format}, {event.sample_rate} Hz, "
                f"{event.channels} channels, {length}; "
                f"libraries {'preloaded' if event.preloaded else 'loaded in the child'}",
            )

    def _done(self, event: events.TrackDone) -> None:
        self._remove(event.source)
        memory = (
            ""
            if event.peak_memory_bytes is None
            else f", peak memory {mebibytes(event.peak_memory_bytes)}"
        )
        is_one_file = self._verb == "convert" and event.stems
        destination = event.stems[0].path if is_one_file else event.destination
        self._print(
            self._out,
            f"{self._next_count()} done: {_name(event.source)}, {clock_time(event.audio_seconds)} "
            f"in {event.seconds:.1f} s{memory} -> {destination}",
        )
        for line in self._warnings.after_track(event):
            self._print(self._err, line, "yellow")

    def _failed(self, event: events.TrackFailed) -> None:
        self._remove(event.source)
        self._state.failed += 1
        self._state.last_failure = f"{_name(event.source)}: {event.message}"
        self._err.print(
            f"{self._next_count()} failed{' before' if event.earlier else ''}: {event.source}: "
            f"{event.message} {event.remedy}".rstrip(),
            style="red",
        )
        if self._verbose:
            self._print_story(event.story, event.traceback or event.log_tail)
        elif event.log_tail and not event.traceback:
            self._print_story((), _last_lines(event.log_tail))
        if event.log_file:
            self._err.print(f"    log: {event.log_file}")

    def _print_story(self, story: Iterable[str], text: str) -> None:
        for line in (*story, *text.splitlines()):
            self._err.print(f"    {printable(line)}")

    def _summary(self, event: events.BatchDone) -> None:
        kinds = warning_counts(event.damaged, event.clipped, event.notes)
        counts = [f"{event.done} {self._verb.removesuffix('e')}ed{kinds}"]
        earlier = f" ({event.damaged_earlier:,} damaged)" if event.damaged_earlier else ""
        counts += [f"{event.skipped} already done{earlier}"] if event.skipped else []
        counts += [f"{event.failed} failed"] if event.failed else []
        counts += [f"{event.not_started} not started"] if event.not_started else []
        if event.late:
            some = "" if event.late == event.not_started else f"{event.late} "
            counts[-1] += f" ({some}out of time)"
        counts += [f"{event.put_off} left for another run"] if event.put_off else []
        folders = counted(len(event.unreadable), "folder")
        counts += [f"{folders} not read"] if event.unreadable else []
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
        for folder in event.unreadable:
            self._err.print(f"  not read: {folder}", style="yellow")
        for line in self._warnings.after_batch(event):
            self._err.print(line, style="yellow")
        for failure in sorted(event.failures, key=attrgetter("reason")):
            text = f"  failed: {failure.source}: {failure.message} ({failure.reason})"
            self._print(self._err, text, "red")

    def _next_count(self) -> str:
        self._ended += 1
        return f"[{self._ended}/{self._total}]"

    def _remove(self, source: str) -> None:
        self._state.ended.add(source)
        self._state.separated.pop(source, None)

    def _print(self, console: Console, text: str, style: str | None = None) -> None:
        if not self._quiet:
            console.print(text, style=style)


def _plan_lines(event: events.PlanMade, verb: str) -> Iterator[str]:
    counts = [f"{event.separate} to {verb}"]
    counts += [f"{event.leave} done"] if event.leave else []
    counts += [f"{event.leave_failed} failed before"] if event.leave_failed else []
    refused = event.refuse + event.problems
    counts += [f"{refused} refused"] if refused else []
    counts += [f"{event.put_off} left for another run"] if event.put_off else []
    counts += [f"{counted(len(event.unreadable), 'folder')} not read"] if event.unreadable else []
    yield ", ".join(counts)
    if event.separate == 0:
        return
    yield (
        f"audio {clock_time(event.audio_seconds)}; time about "
        f"{clock_time(event.predicted_seconds)}, {_concurrency(event)}"
    )
    yield (
        f"memory about {mebibytes(event.predicted_memory_bytes)} of "
        f"{mebibytes(event.max_ram_bytes)}"
    )
    yield f"disk about {mebibytes(event.predicted_bytes)}{_of_free(event)}"
    if event.until is not None:
        yield f"{event.ends_in_time} of {event.separate} until {moment(event.until)}"


def _of_free(event: events.PlanMade) -> str:
    if event.free_bytes is None:
        return ""
    short = "" if event.predicted_bytes <= event.free_bytes else ": not enough"
    return f" of {mebibytes(event.free_bytes)} free{short}"


def _last_lines(log: str) -> str:
    """Return the last lines of a log, or those around a fatal Python error."""
    lines = log.rstrip().splitlines()
    fatal = [number for number, line in enumerate(lines) if line.startswith("Fatal Python error")]
    start = max(0, fatal[-1] - 1) if fatal else -_LOG_LINES
    return "\n".join(lines[start:][:_LOG_LINES])


def _name(path: str) -> str:
    return printable(PurePath(path).name)


def _concurrency(event: events.PoolStarted | events.PlanMade) -> str:
    return f"{event.jobs} at a time, {counted(event.threads, 'thread')} each"
