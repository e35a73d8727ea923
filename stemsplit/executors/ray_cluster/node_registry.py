"""Runs in the supervisor. Lists the usable nodes of a Ray cluster, after a handshake with each."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stemsplit.executors.ray_cluster import handshake
from stemsplit.executors.ray_cluster.faults import exclusion_seconds, handshake_objection
from stemsplit.executors.ray_cluster.sharding import Node

if TYPE_CHECKING:
    from collections.abc import Callable

_REFRESH_SECONDS = 2.0
"""Interval between two requests for the nodes of the cluster."""


class NodeRegistry:
    """The nodes of a cluster that this process is connected to.

    Args:
        version: version of stemsplit that nodes must have.
        sentinel: path on the nodes of a file that they must see; empty if there is none.
        note: called with messages for the user about excluded nodes.
    """

    def __init__(self, version: str, sentinel: bytes, note: Callable[[str], None]) -> None:
        """Start without nodes."""
        self._version = version
        self._sentinel = sentinel
        self._note = note
        self._handshake: Any = None
        self._pending: dict[str, Any] = {}
        self._accepted: set[str] = set()
        self._nodes: list[Node] = []
        self._excluded: dict[str, str] = {}
        self._excluded_until: dict[str, float] = {}
        self._exclusions: Counter[str] = Counter()
        self._next_refresh = 0.0

    def start(self) -> None:
        """Prepare handshakes; this process must be connected to the cluster."""
        ray.cloudpickle.register_pickle_by_value(handshake)  # type: ignore[no-untyped-call]
        self._handshake = ray.remote(handshake.answer_handshake)

    @property
    def excluded(self) -> dict[str, str]:
        """Why nodes are excluded, for a while or for the whole batch, by id."""
        now = time.monotonic()
        for node_id in [key for key, until in self._excluded_until.items() if until <= now]:
            del self._excluded_until[node_id], self._excluded[node_id]
        return self._excluded

    def nodes(self, wait_seconds: float = 0.0) -> list[Node]:
        """Return the nodes that are alive, have processors and have passed the handshake.

        Args:
            wait_seconds: maximum time to wait for pending handshakes; 0 also permits a list that
                is a few seconds old.

        Raises:
            RayError: if the connection to the cluster is lost.
        """
        now = time.monotonic()
        if now >= self._next_refresh or wait_seconds:
            self._next_refresh = now + _REFRESH_SECONDS
            alive = [
                _node(entry)
                for entry in ray.nodes()  # type: ignore[no-untyped-call]
                if entry["Alive"]
            ]
            alive = [node for node in alive if node.cpus]
            self._start_handshakes(alive)
            self._finish_handshakes({node.node_id: node.name for node in alive}, wait_seconds)
            self._nodes = [node for node in alive if node.node_id in self._accepted]
        excluded = self.excluded
        return [node for node in self._nodes if node.node_id not in excluded]

    def has_pending_nodes(self) -> bool:
        """Return whether a node has not completed its handshake yet."""
        return bool(self._pending)

    def exclude(self, node_id: str, why: str, name: str) -> None:
        """Exclude a node for a while, each time for longer."""
        if node_id in self.excluded:
            return
        self._exclusions[node_id] += 1
        seconds = exclusion_seconds(self._exclusions[node_id])
        self._excluded[node_id] = why
        self._excluded_until[node_id] = time.monotonic() + seconds
        self._note(f"node {name} is excluded for {seconds / 60:.0f} min: {why}")

    def _start_handshakes(self, nodes: list[Node]) -> None:
        for node in nodes:
            known = node.node_id in self._pending or node.node_id in self._accepted
            if not known and node.node_id not in self._excluded:
                only_there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
                task = self._handshake.options(
                    num_cpus=0, max_retries=0, scheduling_strategy=only_there
                )
                self._pending[node.node_id] = task.remote(self._sentinel)

    def _finish_handshakes(self, names: dict[str, str], wait_seconds: float) -> None:
        if not self._pending:
            return
        by_task = {task: node_id for node_id, task in self._pending.items()}
        ready, _ = ray.wait([*by_task], num_returns=len(by_task), timeout=wait_seconds)
        for task in ready:
            node_id = by_task[task]
            del self._pending[node_id]
            try:
                version, sees_sentinel = ray.get(task)
            except ray.exceptions.RayError:
                continue  # the next refresh tries again if the node is alive
            why = handshake_objection(
                version, self._version, sees_sentinel=sees_sentinel, sentinel=self._sentinel
            )
            if why:
                self._excluded[node_id] = why
                self._note(f"node {names.get(node_id, node_id)} is excluded: {why}")
            else:
                self._accepted.add(node_id)


def _node(entry: dict[str, Any]) -> Node:
    return Node(
        node_id=entry["NodeID"],
        name=entry["NodeManagerHostname"] or entry["NodeManagerAddress"],
        cpus=entry["Resources"].get("CPU", 0.0),
        memory_bytes=int(entry["Resources"].get("memory", 0)),
    )
