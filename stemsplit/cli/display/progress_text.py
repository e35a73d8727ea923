"""Runs in the supervisor. Formats the progress, speed, memory and warning counts of a batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stemsplit.core.text import clock_time, mebibytes, moment

if TYPE_CHECKING:
    from stemsplit.core.progress import Status

DRAINING = "finishing the running tracks; press Ctrl-C again to stop now"


def format_progress(status: Status) -> list[str]:
    """Return tracks, audio, time left, speed and memory, the most important first."""
    ended = status.done + status.failed
    done, left = status.audio_seconds, status.audio_seconds_left
    return [
        f"{ended:,} of {ended + status.left:,} tracks",
        f"{clock_time(done)} of {clock_time(done + left)}",
        *speed_and_time_left(status),
        f"memory {format_memory(status.memory_bytes, status.max_ram_bytes)}",
    ]


def speed_and_time_left(status: Status) -> list[str]:
    """Return the time left, the speed and the expected end, as far as they are known."""
    parts = []
    if status.seconds_left is not None:
        parts.append(f"{clock_time(status.seconds_left)} to go")
    if status.speed is not None:
        parts.append(f"{status.speed:.1f} times real time")
    if status.seconds_left is not None:
        parts.append(f"done around {moment(time.time() + status.seconds_left)}")
    return parts


def warning_counts(damaged: int, clipped: int, notes: int) -> str:
    """Return ` (3 damaged, 41 clipped, 2 with notes)` with a leading space; empty for none."""
    parts = [f"{damaged:,} damaged"] if damaged else []
    parts += [f"{clipped:,} clipped"] if clipped else []
    parts += [f"{notes:,} with notes"] if notes else []
    return f" ({', '.join(parts)})" if parts else ""


def format_memory(used_bytes: int | None, cap_bytes: int) -> str:
    """Return a text such as `310 of 520 MiB`; `?` stands for unknown usage."""
    used = "?" if used_bytes is None else f"{used_bytes / 2**20:,.0f}"
    return f"{used} of {mebibytes(cap_bytes)}"
