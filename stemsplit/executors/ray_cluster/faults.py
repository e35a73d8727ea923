"""Runs in the supervisor. Decides what follows from lost shards and faulty nodes. Pure.

When a shard is lost, its started tracks are retried up to a limit, because a track may be the
cause; its other tracks are requeued without a limit. A fault that affects every track on a node
excludes the node for a while, and the track moves to another node, if there is one.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from stemsplit.core.errors import ClusterError
from stemsplit.core.outcome import Reason
from stemsplit.core.text import quoted
from stemsplit.supervisor.exit_diagnosis import ExitDiagnosis

if TYPE_CHECKING:
    from collections.abc import Mapping

SILENCE_SECONDS = 300.0
"""Silence after which a shard counts as lost. It sends a message every few seconds."""

SUSPENSION_SECONDS = 5.0
"""Delay of a loop iteration from which the supervisor counts as suspended, not the shards."""

MAX_LOSSES = 5
"""Losses of a started track after which it has failed."""

LOSSES_BY_CHANCE = 1
"""Losses after which a track is retried next. After more of them it is retried last."""

NODE_REASONS = frozenset(
    {
        Reason.DISK_FULL,
        Reason.ENGINE_UNAVAILABLE,
        Reason.NO_MEMORY,
        Reason.UNREACHABLE,
        Reason.UNWRITABLE,
    }
)
"""Failures that may affect every track on one node, and none on another."""

MAX_MOVES = 2
"""Moves of a track to another node after such failures."""

MAX_NODE_FAULTS = 3
"""Consecutive faults after which a node is excluded, or after which the batch ends if the shards
failed before they had a node."""

EXCLUSION_SECONDS = 300.0
"""Duration of a node's first exclusion. Each further one lasts twice as long."""

WAIT_NOTE_SECONDS = 30.0
"""Time without a running shard after which the user is informed."""

MAX_WAIT_SECONDS = 1800.0
"""Time without a running shard after which a batch on a cluster without nodes ends."""


def is_lost(silent_seconds: float) -> bool:
    """Return whether a shard on a node counts as lost, by the time since its last message."""
    return silent_seconds > SILENCE_SECONDS


def suspended_seconds(delay_seconds: float) -> float:
    """Return the part of a delay that does not count as silence of the shards.

    Args:
        delay_seconds: how much longer than planned an iteration of the loop took. After a long
            delay, the supervisor has not read what the shards have sent.
    """
    return delay_seconds if delay_seconds > SUSPENSION_SECONDS else 0.0


class LossDecision(Enum):
    """What happens to a started track whose shard was lost."""

    RETRY_NEXT = auto()
    RETRY_LAST = auto()
    GIVE_UP = auto()


def after_loss(losses: int) -> LossDecision:
    """Decide whether a started track is retried that was lost with `losses` nodes so far."""
    if losses >= MAX_LOSSES:
        return LossDecision.GIVE_UP
    return LossDecision.RETRY_NEXT if losses <= LOSSES_BY_CHANCE else LossDecision.RETRY_LAST


def may_move(
    reason: Reason,
    *,
    moves: int,
    is_disk_shared: bool,
    is_source_missing: bool,
) -> bool:
    """Return whether a failed track is retried on another node, if there is one.

    Args:
        reason: why it failed.
        moves: how often it was moved before.
        is_disk_shared: whether all nodes write to the same disk.
        is_source_missing: whether the source is missing on the node, but not on this machine.
    """
    if moves >= MAX_MOVES:
        return False
    if reason is Reason.DISK_FULL and is_disk_shared:
        return False
    return is_source_missing or reason in NODE_REASONS


class FaultDecision(Enum):
    """What follows from a fault of a node or a shard."""

    CONTINUE = auto()
    EXCLUDE_NODE = auto()
    END_BATCH = auto()


def after_fault(faults: int, *, has_node: bool) -> FaultDecision:
    """Decide what follows from a failed shard, or from storage that a node cannot reach.

    Args:
        faults: consecutive faults of the node, or of shards that failed before they had a node.
            A finished track ends a series.
        has_node: whether the fault belongs to a node.
    """
    if faults < MAX_NODE_FAULTS:
        return FaultDecision.CONTINUE
    return FaultDecision.EXCLUDE_NODE if has_node else FaultDecision.END_BATCH


def exclusion_seconds(exclusions: int) -> float:
    """Return how long a node is excluded, by the number of its exclusions including this one."""
    return EXCLUSION_SECONDS * 2.0 ** (exclusions - 1)


class WaitDecision(Enum):
    """What a batch without a running shard does."""

    CONTINUE = auto()
    INFORM_USER = auto()
    END_WITHOUT_NODES = auto()
    END_WITHOUT_USABLE_NODES = auto()


def while_waiting(
    idle_seconds: float, *, has_nodes: bool, has_pending_nodes: bool, has_excluded_nodes: bool
) -> WaitDecision:
    """Decide whether a batch without a running shard waits for nodes.

    A cluster without nodes may be growing, so the batch waits for a first node. It does not wait if
    all nodes are excluded.

    Args:
        idle_seconds: how long no shard has been running.
        has_nodes: whether a node is usable.
        has_pending_nodes: whether a node has not completed its handshake yet.
        has_excluded_nodes: whether a node is excluded.
    """
    if has_excluded_nodes and not has_nodes and not has_pending_nodes:
        return WaitDecision.END_WITHOUT_USABLE_NODES
    if idle_seconds > MAX_WAIT_SECONDS and not has_nodes:
        return WaitDecision.END_WITHOUT_NODES
    return WaitDecision.INFORM_USER if idle_seconds > WAIT_NOTE_SECONDS else WaitDecision.CONTINUE


def handshake_objection(
    node_version: str, own_version: str, *, sees_sentinel: bool, sentinel: bytes
) -> str:
    """Return why a node is excluded for the whole batch; empty if it is usable.

    Args:
        node_version: version of stemsplit on the node; empty if it is not installed.
        own_version: version of stemsplit on this machine.
        sees_sentinel: whether the node sees the sentinel in the output folder.
        sentinel: path of the sentinel on the node.
    """
    if not node_version:
        return "stemsplit is not installed there. Install the same version on every node."
    if node_version != own_version:
        return (
            f"it has stemsplit {node_version}, but this machine has {own_version}. Install the "
            "same version on every node."
        )
    if not sees_sentinel:
        folder = sentinel.rpartition(b"/")[0]
        return (
            f"it does not see the folder {quoted(folder)} as this machine does. Mount the folder "
            "there, or give its path on the nodes with --path-map."
        )
    return ""


def node_lost(losses: int) -> ExitDiagnosis:
    """Return the diagnosis of a track that was lost with `losses` nodes."""
    return ExitDiagnosis(
        reason=Reason.NODE_LOST,
        message=f"{losses} nodes were lost while separating it.",
        remedy="Find out why those nodes were lost; --retry-failed tries the track again.",
    )


def no_usable_node(excluded: Mapping[str, str]) -> ClusterError:
    """Return the error of a cluster whose nodes are all excluded.

    Args:
        excluded: why nodes are excluded, by id, not empty. The first reason is reported.
    """
    message, _, remedy = next(iter(excluded.values())).partition(". ")
    return ClusterError(f"No node of the cluster is usable: {message.rstrip('.')}.", remedy)


def no_nodes_left() -> ClusterError:
    """Return the error of a cluster that has had no nodes for `MAX_WAIT_SECONDS`."""
    return ClusterError(
        "The cluster has no nodes left.",
        "Start nodes, and run the same command again: it continues where it stopped.",
    )


def no_shard_started(fault: str) -> ClusterError:
    """Return the error for too many shards that failed before they had a node."""
    return ClusterError(
        f"No node could start a shard ({fault}).",
        "Check Ray's logs on the nodes, in /tmp/ray/session_latest/logs.",
    )
