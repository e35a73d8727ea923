"""Runs in the supervisor. Submits shards to a Ray cluster and exchanges messages with them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stemsplit.core.errors import ClusterError
from stemsplit.executors.ray_cluster.client_interface import ShardEnded, Submission
from stemsplit.executors.ray_cluster.mailbox import Mailbox
from stemsplit.executors.ray_cluster.node_registry import NodeRegistry
from stemsplit.executors.ray_cluster.ray_connection import connected, describe_error
from stemsplit.executors.ray_cluster.relay import NEEDS_MODEL, pack_model, run_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from stemsplit.executors.ray_cluster.sharding import Node

_MAX_CALLS = 100_000
"""Maximum number of concurrent calls of the mailbox. Each shard has one that waits for messages."""


class RayClient:
    """A `stemsplit.executors.ray_cluster.client_interface.ClusterClient` for Ray.

    A context manager: at its end, this process has left the cluster.

    Args:
        address: `local`, `auto` or an address; see
            `stemsplit.executors.ray_cluster.ray_connection.connected`.
        cpus: number of processors of a local cluster.
        model_folder: weights to send to nodes without them; None if none are needed.
        version, sentinel, note: see `stemsplit.executors.ray_cluster.node_registry.NodeRegistry`.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """

    def __init__(
        self,
        address: str,
        *,
        cpus: int,
        model_folder: Path | None,
        version: str,
        sentinel: bytes,
        note: Callable[[str], None],
    ) -> None:
        """Store the arguments; connect to nothing yet."""
        self._address = address
        self._cpus = cpus
        self._model_folder = model_folder
        self._registry = NodeRegistry(version, sentinel, note)
        self._stack = contextlib.ExitStack()
        self._mailbox: Any = None
        self._shard_task: Any = None
        self._model: Any = None
        self._receiving: Any = None
        self._tasks: dict[Any, Submission] = {}
        self._cancelled: set[int] = set()

    def __enter__(self) -> Self:
        """Connect to the cluster, and start the mailbox on this machine."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(connected(self._address, cpus=self._cpus))
            only_here = NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=False
            )
            self._mailbox = (
                ray.remote(Mailbox)
                .options(num_cpus=0, max_concurrency=_MAX_CALLS, scheduling_strategy=only_here)
                .remote()
            )
            self._shard_task = ray.remote(run_shard)
            self._registry.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the cluster."""
        self._stack.close()

    @property
    def excluded(self) -> dict[str, str]:
        """Why nodes are excluded, by id."""
        return self._registry.excluded

    def nodes(self, wait_seconds: float = 0.0) -> list[Node]:
        """See `stemsplit.executors.ray_cluster.node_registry.NodeRegistry.nodes`."""
        with _translate_errors():
            return self._registry.nodes(wait_seconds)

    def has_pending_nodes(self) -> bool:
        """Return whether a node has not completed its handshake yet."""
        return self._registry.has_pending_nodes()

    def exclude(self, node_id: str, why: str, name: str) -> None:
        """Exclude a node for a while, each time for longer."""
        self._registry.exclude(node_id, why, name)

    def submit(self, submission: Submission) -> None:
        """Submit a shard; Ray chooses its node."""
        with _translate_errors():
            self._submit(submission, model=None)

    def _submit(self, submission: Submission, model: Any) -> None:  # noqa: ANN401 - Ray's
        selector = {"ray.io/node-id": f"!in({','.join(submission.not_on)})"}
        task = self._shard_task.options(
            num_cpus=submission.cpus,
            memory=submission.memory_bytes,
            max_retries=0,
            name=f"stemsplit shard {submission.number}",
            scheduling_strategy="SPREAD",
            label_selector=selector if submission.not_on else None,
        ).remote(self._mailbox, submission.number, submission.model_name, model)
        self._tasks[task] = submission

    def wait(self, seconds: float) -> Iterator[tuple[int, bytes | ShardEnded]]:
        """Yield the messages of shards, and which have ended; wait up to `seconds` for the first.

        All messages of a shard come before its end.

        Raises:
            ClusterError: if the connection to the cluster is lost.
        """
        with _translate_errors():
            if self._receiving is None:
                self._receiving = self._mailbox.receive.remote(seconds)
            ready, _ = ray.wait(
                [self._receiving, *self._tasks], num_returns=1, timeout=seconds, fetch_local=False
            )
            ended = [task for task in ready if task is not self._receiving]
            if ended:
                ended, _ = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=0)
            if self._receiving not in ready and not ended:
                return
            # If a task has ended, receive again: its last message may have come in between.
            received = ray.get(self._receiving)
            received += ray.get(self._mailbox.receive.remote(0)) if ended else []
            self._receiving = None
        yield from received
        for task in ended:
            submission = self._tasks.pop(task)
            end = self._end_of(task, submission)
            if end is not None:
                self._mailbox.close.remote(submission.number)
                yield submission.number, end

    def _end_of(self, task: Any, submission: Submission) -> ShardEnded | None:  # noqa: ANN401 - Ray's
        """Return the end of a shard; None if it is submitted again, with the model."""
        try:
            result = ray.get(task)
        except ray.exceptions.RayError as error:
            return ShardEnded(fault=describe_error(error))
        if (
            result == NEEDS_MODEL
            and self._model_folder is not None
            and submission.number not in self._cancelled
        ):
            # Only this shard gets the model: others may start on nodes that have it.
            if self._model is None:
                self._model = ray.put(pack_model(self._model_folder))
            self._submit(submission, self._model)
            return None
        return ShardEnded()

    def send(self, frames: list[tuple[int, bytes]]) -> None:
        """Send messages to shards."""
        with _translate_errors():
            # Wait for the call: an actor with async methods does not keep the order of calls.
            ray.get(self._mailbox.send.remote(frames))

    def cancel(self, number: int) -> None:
        """Kill the task of a shard."""
        self._cancelled.add(number)
        for task, submission in self._tasks.items():
            if submission.number == number:
                with contextlib.suppress(ray.exceptions.RayError):
                    ray.cancel(task, force=True)


@contextlib.contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate Ray's errors into an error for users."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"The connection to the cluster was lost ({describe_error(error)}).",
            "Check the cluster, and run the same command again: it continues where it stopped.",
        ) from error
