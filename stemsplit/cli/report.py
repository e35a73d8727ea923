"""Runs in the supervisor. `stemsplit report`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit import __version__
from stemsplit.errors import ExitCode, UnwritableError
from stemsplit.text import clock_time, counted, mebibytes, moment, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.library.history import History, PastRun, PastTrack


def report(
    output: Path,
    /,
    *,
    html: Annotated[Path | None, Parameter(name=["--html"])] = None,
) -> int:
    """Tell what was done to a folder: every track, every failure, time and memory.

    With --html, write a page to listen in: one file that needs no network, with a player for the
    stems of each track, waveforms, and the memory of every child over time. Its links to the stems
    are relative, so keep it with them.

    Parameters
    ----------
    output:
        The folder that was given to `stemsplit separate` with -o.
    html:
        Write this page, and print nothing else.
    """
    from stemsplit.library.history import read_history

    history = read_history(output.absolute())
    if html is None:
        _print(history)
        return ExitCode.DONE
    _write(history, html.absolute())
    print(f"{printable(html)}: {counted(len(history.tracks), 'track')}")
    return ExitCode.DONE


def _write(history: History, path: Path) -> None:
    """Write the page in one step, so that no half of one is left."""
    from stemsplit.report.page import page

    text = page(history, path.parent, made=time.time(), version=__version__)
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UnwritableError(
            f"The page {quoted(path)} cannot be written ({error.strerror}).",
            "Name another file with --html.",
        ) from error


def _print(history: History) -> None:
    console = Console(highlight=False, emoji=False)
    console.print(_tracks(history))
    for run in history.runs:
        console.print(Text(_run(run)))
    for source, reason, message in _failures(history):
        console.print(Text(f"failed: {source}: {message} ({reason})"), style="red", soft_wrap=True)


def _tracks(history: History) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("track", overflow="fold")
    table.add_column("state")
    for name in ("audio", "time", "times real time", "memory", "cap"):
        table.add_column(name, justify="right")
    for track in history.tracks:
        table.add_row(*(Text(cell) for cell in _row(track)))
    return table


def _row(track: PastTrack) -> Iterator[str]:
    yield printable(os.path.basename(track.source))  # noqa: PTH119 - bytes
    yield track.reason or track.state if track.state == "failed" else track.state
    yield "" if track.audio_seconds is None else clock_time(track.audio_seconds)
    last = track.attempts[-1] if track.attempts else None
    if last is None or last.seconds is None:
        return
    yield clock_time(last.seconds)
    if track.state == "done" and track.audio_seconds and last.seconds:
        yield f"{track.audio_seconds / last.seconds:.1f}"
    else:
        yield ""
    yield "" if last.peak_pss_bytes is None else mebibytes(last.peak_pss_bytes)
    yield "" if last.ram_cap_bytes is None else mebibytes(last.ram_cap_bytes)


def _run(run: PastRun) -> str:
    words = [f"run {run.number} began {moment(run.began)}"]
    if run.seconds is None:
        words.append("has no end")
    else:
        words.append(f"took {clock_time(run.seconds)}, exit code {run.exit_code}")
    if run.audio_seconds and run.seconds:
        speed = run.audio_seconds / run.seconds
        words.append(f"{clock_time(run.audio_seconds)} of audio, {speed:.1f} times real time")
    if run.peak_memory_bytes is not None and run.max_ram_bytes is not None:
        words.append(
            f"peak memory {mebibytes(run.peak_memory_bytes)} of {mebibytes(run.max_ram_bytes)}"
        )
    return ", ".join(words)


def _failures(history: History) -> Iterator[tuple[str, str, str]]:
    yield from history.runs[-1].refused
    for track in history.tracks:
        if track.state == "failed":
            yield printable(track.source), track.reason or "", f"{track.message} {track.remedy}"
