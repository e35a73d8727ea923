"""Runs in both. Limits of a batch: memory, time, retries, priority; resources of an attempt."""

from __future__ import annotations

from typing import Literal

import msgspec

from stemsplit.core.errors import UsageError
from stemsplit.core.units import Amount, TimeLimit, parse_duration, parse_size, parse_time_limit

Order = Literal["given", "path", "shortest", "newest"]
OnBattery = Literal["run", "pause"]

MAX_NICE = 19
"""Highest nice value, which is the lowest priority (nice(1))."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of memory and time (docs/memory.md explains the thresholds).

    Attributes:
        max_ram: budget of all processes together, as the sum of their PSS. A percentage refers to
            the memory available at the start. None for 60 %.
        max_ram_per_file: cap of one child with its descendants; None for 1.5 times the predicted
            memory.
        min_free: memory left free for other programs. A percentage refers to the machine's
            memory. None for 10 %, at least 512 MiB.
        timeout: longest run time of one child; None for no limit.
        stall_seconds: longest time that a child may run without progress, more than 0. After a
            third of it without CPU time or I/O, the child counts as stalled too.
        retries: retries of a track for each kind of failure, 0 or more.
        nice: nice value of the children, 0 to 19 (nice(1)).
    """

    max_ram: Amount | None = None
    max_ram_per_file: Amount | None = None
    min_free: Amount | None = None
    timeout: TimeLimit | None = None
    stall_seconds: float = 120.0
    retries: int = 2
    nice: int = 0

    @classmethod
    def parse(
        cls,
        *,
        max_ram: str | float | None = None,
        max_ram_per_file: str | float | None = None,
        min_free: str | float | None = None,
        timeout: str | float | None = None,
        stall_timeout: str | float | None = None,
        retries: int = 2,
        nice: int = 0,
    ) -> Limits:
        """Parse limits as a user writes them: `4GiB`, `60%`, `90s`, `4x`.

        Args:
            max_ram: size or percentage.
            max_ram_per_file: size or percentage.
            min_free: size or percentage.
            timeout: duration, or a multiple of the predicted time.
            stall_timeout: duration.
            retries: 0 or more.
            nice: 0 to 19.

        Raises:
            UsageError: if a value is invalid.
        """
        if retries < 0:
            raise UsageError(f"retries must be 0 or more, not {retries}.")
        if not 0 <= nice <= MAX_NICE:
            raise UsageError(f"nice must be from 0 to {MAX_NICE}, not {nice}.")

        def size(text: str | float | None, what: str) -> Amount | None:
            return None if text is None else parse_size(text, what)

        return cls(
            max_ram=size(max_ram, "max-ram"),
            max_ram_per_file=size(max_ram_per_file, "max-ram-per-file"),
            min_free=size(min_free, "min-free"),
            timeout=None if timeout is None else parse_time_limit(timeout, "timeout"),
            stall_seconds=(
                120.0 if stall_timeout is None else parse_duration(stall_timeout, "stall-timeout")
            ),
            retries=retries,
            nice=nice,
        )


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Resources of one attempt; a retry may change them.

    Attributes:
        threads: threads of the network, at least 1.
        lean: whether only one instrument's U-Net is in memory at a time. The result is the same.
        alone: whether no other child runs at the same time.
    """

    threads: int = 1
    lean: bool = False
    alone: bool = False

    def __str__(self) -> str:
        words = [f"{self.threads} thread{'' if self.threads == 1 else 's'}"]
        words += ["one instrument at a time"] if self.lean else []
        words += ["alone"] if self.alone else []
        return ", ".join(words)
