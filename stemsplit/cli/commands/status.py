"""Runs in the supervisor. `stemsplit status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from stemsplit.cli.display.json_display import print_json
from stemsplit.cli.display.progress_text import format_memory, speed_and_time_left, warning_counts
from stemsplit.core.errors import ExitCode
from stemsplit.core.text import clock_time, mebibytes, moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.batch.status import Report
    from stemsplit.core.progress import RunningTrack, Status


_MAX_FAILURES = 20


def status(output: str, /, *, json: bool = False) -> int:
    """Show the progress of a running batch, or how the last one ended.

    Parameters
    ----------
    output:
        Folder or URL of the batch, as given with -o.
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
    kinds = warning_counts(report.damaged, report.clipped, report.notes)
    counts = f"{report.done} done{kinds}, {report.failed} failed, {report.left} left"
    yield (
        f"  {counts}; {clock_time(report.audio_seconds_done)} of audio done, "
        f"{clock_time(report.audio_seconds_left)} left"
    )
    if report.left_earlier:
        yield f"  {report.left_earlier} left from earlier runs with other inputs"
    if report.now is not None:
        yield from _now(report.now)
    for failure in report.failures[:_MAX_FAILURES]:
        yield f"  failed: {failure.source}: {failure.message} ({failure.reason})"
    if len(report.failures) > _MAX_FAILURES:
        yield f"  and {len(report.failures) - _MAX_FAILURES} more failed; --json lists all"


def _state(report: Report) -> str:
    if report.running:
        preparing = ", scanning its inputs; before that" if report.preparing else ""
        return f"running ({report.holder}){preparing}"
    without = " without --overwrite" if report.overwriting else ""
    again = f". Run the same command{without} to continue." if report.left else ""
    if report.ended is None:
        return f"killed; started {moment(report.began)}{again}"
    return f"ended {moment(report.ended)} with exit code {report.exit_code}{again}"


def _now(now: Status) -> Iterator[str]:
    if now.pausing:
        yield f"  {now.pausing}"
    if parts := speed_and_time_left(now):
        yield f"  {', '.join(parts)}"
    yield f"  memory {format_memory(now.memory_bytes, now.max_ram_bytes)}"
    for track in now.running:
        yield f"  now: {_running(track)}"


def _running(track: RunningTrack) -> str:
    parts = [f"{track.source}, {clock_time(track.audio_seconds)}"]
    if track.total_seconds:
        parts[0] += f" of {clock_time(track.total_seconds)}"
    if track.memory_bytes is not None:
        parts.append(mebibytes(track.memory_bytes))
    if track.attempt > 1:
        parts.append(f"attempt {track.attempt}")
    return ", ".join(parts)
