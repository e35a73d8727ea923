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

from stemsplit.cli.display.progress_text import kinds_of
from stemsplit.cli.options import parameter
from stemsplit.core.errors import ExitCode, OutputExistsError, UnwritableError
from stemsplit.core.outcome import WarningKind
from stemsplit.core.text import clock_time, counted, mebibytes, moment, printable, quoted
from stemsplit.core.version import __version__
from stemsplit.journal.records import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.journal.history import History, PastRun, PastTrack

_OURS = b'<meta name="generator" content="stemsplit">'
"""Stands near the beginning of every page, and tells one from anybody's file."""

_BEGINNING_BYTES = 2048


def report(
    output: str,
    /,
    *,
    html: Annotated[str | None, parameter(metavar="FILE", allow_leading_hyphen=True)] = None,
) -> int:
    """Tell what was done to a folder: every track, every run, every failure.

    With --html, write a page to listen in: one file that needs no network, with a player for the
    stems of each track, waveforms, and the memory of every child over time. Its links to the stems
    are relative, so keep it with them.

    Parameters
    ----------
    output:
        The folder or address that was given to -o.
    html:
        Write this page, and print nothing else. An earlier page of stemsplit is replaced; - is
        standard output.
    """
    from stemsplit.journal.history import read_history
    from stemsplit.report.page import page
    from stemsplit.storage.remote import path_of

    history = read_history(path_of(output).absolute())
    if html is None:
        _print(history)
        return ExitCode.DONE
    path = Path(html).absolute()
    folder = Path.cwd() if html == "-" else path.parent
    text = page(history, folder, made=time.time(), version=__version__)
    if html == "-":
        sys.stdout.write(text)
    else:
        _write(text, path)
        print(f"{printable(html)}: {counted(len(history.tracks), 'track')}")
    return ExitCode.DONE


def _write(text: str, path: Path) -> None:
    """Write the page in one step, so that no half of one is left and nobody's file is lost."""
    path = path.resolve()
    new = path.parent / f".{path.name}.new"
    try:
        if path.is_dir():
            raise UnwritableError(f"{quoted(path)} is a folder.", "Name a file with --html.")
        if os.path.lexists(path) and not _is_a_page(path):
            raise OutputExistsError(
                f"{quoted(path)} is there and is no page of stemsplit's.",
                "Name another file with --html, or remove it.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise UnwritableError(
            f"The page {quoted(path)} cannot be written ({error.strerror}).",
            "Name another file with --html.",
        ) from error


def _is_a_page(path: Path) -> bool:
    if not path.is_file():  # a device, a pipe
        return False
    with path.open("rb") as file:
        return _OURS in file.read(_BEGINNING_BYTES)


def _print(history: History) -> None:
    """Print a line for each track; not by way of rich, which takes seconds over thousands."""
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
        for text in _damage(track):
            console.print(f"damaged: {printable(track.source)}: {text}", style="yellow")
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
    kinds = {one.kind for one in track.warnings}
    shown = [kind for kind in WarningKind if kind in kinds]
    return ", ".join(("done", *shown[:1]))  # damage comes first


def _damage(track: PastTrack) -> Iterator[str]:
    """Yield what is lost of a track that is done."""
    if track.state == "done":
        yield from (one.text for one in track.warnings if one.kind is WarningKind.DAMAGED)


def _counts(history: History) -> str:
    states = Counter(track.state for track in history.tracks)
    done, failed = states.pop(JobState.DONE, 0), states.pop(JobState.FAILED, 0)
    warned = history.warned
    kinds = kinds_of(*(warned[kind] for kind in WarningKind))
    failed += len(history.refused)
    return f"{done:,} done{kinds}, {failed:,} failed, {states.total():,} left"


def _run(run: PastRun, engines: Sequence[str]) -> str:
    words = [f"run {run.number} began {moment(run.began)}"]
    if run.seconds is None:
        words.append("has no end yet, or was killed")
    else:
        words.append(f"took {clock_time(run.seconds)}, exit code {run.exit_code}")
    if run.audio_seconds and run.seconds:
        speed = run.audio_seconds / run.seconds
        words.append(f"{clock_time(run.audio_seconds)} of audio, {speed:.1f} times real time")
    if engines:
        words.append(f"engine {' and '.join(engines)}")
    if run.peak_memory_bytes is not None and run.max_ram_bytes is not None:
        words.append(
            f"peak memory {mebibytes(run.peak_memory_bytes)} of {mebibytes(run.max_ram_bytes)}"
        )
    return ", ".join(words)


def _failures(history: History) -> Iterator[tuple[str, str, str]]:
    yield from history.refused
    for track in history.failed:
        yield printable(track.source), track.reason or "", f"{track.message} {track.remedy}"
