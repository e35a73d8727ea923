"""Runs in the supervisor. `stemsplit status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from stemsplit.cli.display.event_output import print_json
from stemsplit.cli.display.progress_text import kinds_of, memory_of, pace
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import clock_time, mebibytes, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.batch.status import Report
    from stemsplit.core.progress import RunningTrack, Status


_MOST_FAILURES = 20


def status(output: str, /, *, json: bool = False) -> int:
    """Tell how far a batch is, from another terminal, or how the last one ended.

    Parameters
    ----------
    output:
        The folder or address that was given to `stemsplit separate` with -o.
    json:
        Print one JSON object.
    """
    from stemsplit.batch import status

    report = status.status(output)
    if json:
        print_json(report)
    else:
        console = Console(markup=False, highlight=False, soft_wrap=True, emoji=False)
        for line in _lines(report):
            console.print(line)
    return ExitCode.DONE


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.output}: {_state(report)}"
    kinds = kinds_of(report.damaged, report.clipped, report.notes)
    counts = f"{report.done} done{kinds}, {report.failed} failed, {report.left} left"
    yield (
        f"  {counts}; {clock_time(report.audio_seconds_done)} of audio done, "
        f"{clock_time(report.audio_seconds_left)} left"
    )
    if report.left_earlier:
        yield f"  {report.left_earlier} left by earlier runs that named other files"
    if report.now is not None:
        yield from _now(report.now)
    for failure in report.failures[:_MOST_FAILURES]:
        yield f"  failed: {failure.source}: {failure.message} ({failure.reason})"
    if len(report.failures) > _MOST_FAILURES:
        yield f"  and {len(report.failures) - _MOST_FAILURES} more failed; --json has them all"


def _state(report: Report) -> str:
    if report.running:
        preparing = ", looking through its inputs; before that" if report.preparing else ""
        return f"running ({report.holder}){preparing}"
    without = " without --overwrite" if report.overwriting else ""
    again = f". The same command{without} goes on from there." if report.left else ""
    if report.ended is None:
        return f"killed; it began {moment(report.began)}{again}"
    return f"ended {moment(report.ended)} with exit code {report.exit_code}{again}"


def _now(now: Status) -> Iterator[str]:
    if now.pausing:
        yield f"  {now.pausing}"
    if words := pace(now):
        yield f"  {', '.join(words)}"
    yield f"  memory {memory_of(now.memory_bytes, now.max_ram_bytes)}"
    for track in now.running:
        yield f"  now: {_running(track)}"


def _running(track: RunningTrack) -> str:
    words = [f"{track.source}, {clock_time(track.audio_seconds)}"]
    if track.total_seconds:
        words[0] += f" of {clock_time(track.total_seconds)}"
    if track.memory_bytes is not None:
        words.append(mebibytes(track.memory_bytes))
    if track.attempt > 1:
        words.append(f"attempt {track.attempt}")
    return ", ".join(words)
