"""Runs in the supervisor. What the pool of a cluster expects from its client of Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stemsplit.executors.ray_cluster.sharding import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A shard as submitted to Ray.

    Attributes:
        number: number of the shard in the batch.
        model_name: model that the node needs; empty if none.
        cpus, memory_bytes: resources to reserve on a node.
        not_on: ids of excluded nodes.
    """

    number: int
    model_name: str
    cpus: int
    memory_bytes: int
    not_on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEnded:
    """The Ray task of a shard has ended.

    Attributes:
        fault: why it ended early, for the user; empty if it ended normally.
    """

    fault: str = ""


class ClusterClient(Protocol):
    """Access to the nodes of a cluster (`stemsplit.executors.ray_cluster.client.RayClient`)."""

    @property
    def excluded(self) -> Mapping[str, str]:
        """Why nodes are excluded, by id."""

    def nodes(self) -> list[Node]:
        """Return the usable nodes."""

    def has_pending_nodes(self) -> bool:
        """Return whether a node has not completed its handshake yet."""

    def exclude(self, node_id: str, why: str, name: str) -> None:
        """Exclude a node for a while."""

    def submit(self, submission: Submission) -> None:
        """Submit a shard."""

    def wait(self, seconds: float) -> Iterable[tuple[int, bytes | ShardEnded]]:
        """Yield the messages of shards, and which have ended, by shard number."""

    def send(self, frames: list[tuple[int, bytes]]) -> None:
        """Send messages to shards, by shard number."""

    def cancel(self, number: int) -> None:
        """Kill a shard."""
