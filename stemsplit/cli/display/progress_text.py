"""Runs in the supervisor. How far and how fast a batch is, and its warnings, in a few words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from stemsplit.core.text import clock_time, mebibytes, moment

if TYPE_CHECKING:
    from stemsplit.core.progress import Status


def progress_of(status: Status) -> list[str]:
    """Give tracks, audio, what is left, speed and memory, the more telling first."""
    ended = status.done + status.failed
    done, left = status.audio_seconds, status.audio_seconds_left
    return [
        f"{ended:,} of {ended + status.left:,} tracks",
        f"{clock_time(done)} of {clock_time(done + left)}",
        *pace(status),
        f"memory {memory_of(status.memory_bytes, status.max_ram_bytes)}",
    ]


def pace(status: Status) -> list[str]:
    """Give speed, and what is left of the time; nothing where nothing is known."""
    words = []
    if status.seconds_left is not None:
        words.append(f"{clock_time(status.seconds_left)} to go")
    if status.speed is not None:
        words.append(f"{status.speed:.1f} times real time")
    if status.seconds_left is not None:
        words.append(f"until about {moment(time.time() + status.seconds_left)}")
    return words


def kinds_of(damaged: int, clipped: int, notes: int) -> str:
    """Return ` (3 damaged, 41 clipped, 2 with notes)`, with a space in front; empty for none."""
    words = [f"{damaged:,} damaged"] if damaged else []
    words += [f"{clipped:,} clipped"] if clipped else []
    words += [f"{notes:,} with notes"] if notes else []
    return f" ({', '.join(words)})" if words else ""


def memory_of(used_bytes: int | None, cap_bytes: int) -> str:
    """Give `310 of 520 MiB`."""
    used = "?" if used_bytes is None else f"{used_bytes / 2**20:,.0f}"
    return f"{used} of {mebibytes(cap_bytes)}"
