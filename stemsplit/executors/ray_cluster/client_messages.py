"""Runs in the supervisor. What a fleet is given, and what it tells beside what shards say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A shard as Ray gets it.

    Attributes:
        number: of the shard.
        model_name: see `stemsplit.executors.ray_cluster.relay.carry`.
        cpus, memory_bytes: what it takes.
        not_on: nodes that it must not go to.
    """

    number: int
    model_name: str
    cpus: int
    memory_bytes: int
    not_on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A shard's task has ended.

    Attributes:
        fault: what ended it before its time, for people; empty if it came to its end.
    """

    fault: str = ""
