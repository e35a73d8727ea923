"""Runs in the supervisor. `stemsplit report`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console

from stemsplit.cli.display.progress_text import warning_counts
from stemsplit.cli.options import value
from stemsplit.core.errors import ExitCode, OutputExistsError, UnwritableError
from stemsplit.core.outcome import WarningKind
from stemsplit.core.text import clock_time, counted, mebibytes, moment, printable, quoted
from stemsplit.core.version import __version__
from stemsplit.journal.job_records import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.journal.history import History, PastRun, PastTrack

_SENTINEL = b'<meta name="generator" content="stemsplit">'
"""Text near the beginning of every page, which distinguishes pages from other files."""

_HEAD_BYTES = 2048


def report(
    output: str,
    /,
    *,
    html: Annotated[
        str | None,
        value(
            "FILE",
            "Write an HTML page instead of text. An earlier page of stemsplit is replaced; - is "
            "standard output.",
            allow_leading_hyphen=True,
        ),
    ] = None,
) -> int:
    """Show every track, run and failure in a folder.

    With --html, write a page with players for the stems of each track, waveforms, and the memory of
    every child over time. It is one file that works offline. Its links to the stems are
    relative, so keep it with them.

    Parameters
    ----------
    output:
        Folder or URL of the batch, as given with -o.
    """
    from stemsplit.journal.history_reader import read_history
    from stemsplit.report.page import render_page
    from stemsplit.storage.urls import path_of

    history = read_history(path_of(output).absolute())
    if html is None:
        _print(history)
        return ExitCode.DONE
    path = Path(html).absolute()
    folder = Path.cwd() if html == "-" else path.parent
    text = render_page(history, folder, created=time.time(), version=__version__)
    if html == "-":
        sys.stdout.write(text)
    else:
        _write(text, path)
        print(f"{printable(html)}: {counted(len(history.tracks), 'track')}")
    return ExitCode.DONE


def _write(text: str, path: Path) -> None:
    """Write the page atomically; refuse to replace a file that is not a page of ours."""
    path = path.resolve()
    new = path.parent / f".{path.name}.new"
    try:
        if path.is_dir():
            raise UnwritableError(f"{quoted(path)} is a folder.", "Choose a file with --html.")
        if os.path.lexists(path) and not _is_a_page(path):
            raise OutputExistsError(
                f"{quoted(path)} exists and is not a stemsplit report.",
                "Choose another file with --html, or remove it.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise UnwritableError(
            f"The page {quoted(path)} cannot be written ({error.strerror}).",
            "Choose another file with --html.",
        ) from error


def _is_a_page(path: Path) -> bool:
    if not path.is_file():  # a device, a pipe
        return False
    with path.open("rb") as file:
        return _SENTINEL in file.read(_HEAD_BYTES)


def _print(history: History) -> None:
    """Print a line for each track, with `print`: rich needs seconds for thousands of lines."""
    print(_line("state", "audio", "time", "speed", "memory", "cap", "track"))
    for track in history.tracks:
        print(_line(*_row(track)))
    print()
    print(_counts(history))
    engines = history.engines()
    for run in history.runs:
        print(_run(run, engines[run.number]))
    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    for track in history.tracks:
        for warning in track.warnings if track.state == "done" else ():
            if warning.kind is WarningKind.DAMAGED:
                text = f"damaged: {printable(track.source)}: {warning.text}"
                console.print(text, style="yellow")
    for source, reason, message in _failures(history):
        console.print(f"failed: {source}: {message} ({reason})", style="red")


def _line(state: str, audio: str, took: str, speed: str, memory: str, cap: str, track: str) -> str:
    return f"{state:<18} {audio:>8} {took:>8} {speed:>6} {memory:>9} {cap:>9}  {track}"


def _row(track: PastTrack) -> Iterator[str]:
    last = track.attempts[-1] if track.attempts else None
    took = None if last is None else last.seconds
    audio = track.audio_seconds
    yield _state(track)
    yield clock_time(audio) if audio else ""
    yield "" if took is None else clock_time(took)
    yield f"{audio / took:.1f}x" if track.state == "done" and audio and took else ""
    peak, cap = (None, None) if last is None else (last.peak_pss_bytes, last.ram_cap_bytes)
    yield "" if peak is None else mebibytes(peak)
    yield "" if cap is None else mebibytes(cap)
    yield printable(track.source)


def _state(track: PastTrack) -> str:
    if track.state == "failed":
        return track.reason or track.state
    if track.state != "done":
        return track.state
    kinds = {warning.kind for warning in track.warnings}
    shown = [kind for kind in WarningKind if kind in kinds]
    return ", ".join(("done", *shown[:1]))  # damage comes first


def _counts(history: History) -> str:
    states = Counter(track.state for track in history.tracks)
    done, failed = states.pop(JobState.DONE, 0), states.pop(JobState.FAILED, 0)
    warned = history.warned
    kinds = warning_counts(*(warned[kind] for kind in WarningKind))
    failed += len(history.refused)
    return f"{done:,} done{kinds}, {failed:,} failed, {states.total():,} left"


def _run(run: PastRun, engines: Sequence[str]) -> str:
    parts = [f"run {run.number} started {moment(run.began)}"]
    if run.seconds is None:
        parts.append("still running, or killed")
    else:
        parts.append(f"took {clock_time(run.seconds)}, exit code {run.exit_code}")
    if run.audio_seconds and run.seconds:
        speed = run.audio_seconds / run.seconds
        parts.append(f"{clock_time(run.audio_seconds)} of audio, {speed:.1f} times real time")
    if engines:
        parts.append(f"engine {' and '.join(engines)}")
    if run.peak_memory_bytes is not None and run.max_ram_bytes is not None:
        parts.append(
            f"peak memory {mebibytes(run.peak_memory_bytes)} of {mebibytes(run.max_ram_bytes)}"
        )
    return ", ".join(parts)


def _failures(history: History) -> Iterator[tuple[str, str, str]]:
    yield from history.refused
    for track in history.failed:
        yield printable(track.source), track.reason or "", f"{track.message} {track.remedy}"
