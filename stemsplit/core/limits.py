"""Runs in both. What a batch may use: memory, time, retries, threads; order and power."""

from __future__ import annotations

from typing import Literal

import msgspec

from stemsplit.core.errors import (
    UsageError,
)
from stemsplit.core.units import Amount, TimeLimit, parse_duration, parse_size, parse_time_limit

Order = Literal["given", "path", "shortest", "newest"]


OnBattery = Literal["run", "pause"]


LEAST_PRIORITY = 19
"""The nicest that a process can be (nice(1))."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch may use, and how long a child may take; docs/memory.md has the ladder.

    Attributes:
        max_ram: the budget of all processes together, as the sum of their PSS; a share is one of
            the memory that this process can have now. None is 60 %.
        max_ram_per_file: the cap of one child with all that it started; None is half again what
            the model is expected to take.
        min_free: what is left free for other programs; a share is one of the machine's memory.
            None is 10 %, and at least 512 MiB.
        timeout: the longest that one child may take; None sets no limit.
        stall_seconds: the longest that a child may go without progress, more than 0. A third of
            it is how long it may use neither processor nor disk.
        retries: how often a track is tried again for each kind of failure, 0 or more.
        nice: how much the children give way to other programs, from 0 to 19 (nice(1)).
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
        """Read limits as a person writes them: `4GiB`, `60%`, `90s`, `4x`.

        Args:
            max_ram: a size or percentage.
            max_ram_per_file: a size or percentage.
            min_free: a size or percentage.
            timeout: a duration, or a multiple of the expected time.
            stall_timeout: a duration.
            retries: 0 or more.
            nice: 0 to 19.

        Raises:
            UsageError: with the value and what to write instead.
        """
        if retries < 0:
            raise UsageError(f"retries must be 0 or more, not {retries}.")
        if not 0 <= nice <= LEAST_PRIORITY:
            raise UsageError(f"nice must be 0 to {LEAST_PRIORITY}, not {nice}.")

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
    """How one attempt at a track goes about it; a retry changes this.

    Attributes:
        threads: of the network, at least 1.
        lean: one instrument's U-Net in memory at a time. The result is the same.
        alone: no other child runs meanwhile.
    """

    threads: int = 1
    lean: bool = False
    alone: bool = False

    def __str__(self) -> str:
        """Give it in words."""
        words = [f"{self.threads} thread{'' if self.threads == 1 else 's'}"]
        words += ["one instrument at a time"] if self.lean else []
        words += ["alone"] if self.alone else []
        return ", ".join(words)
