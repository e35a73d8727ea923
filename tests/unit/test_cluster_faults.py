"""Decisions about lost shards and faulty nodes."""

from __future__ import annotations

import pytest

from stemsplit.core.outcome import Reason
from stemsplit.executors.ray_cluster.faults import (
    EXCLUSION_SECONDS,
    LOSSES_BY_CHANCE,
    MAX_LOSSES,
    MAX_MOVES,
    MAX_NODE_FAULTS,
    MAX_WAIT_SECONDS,
    SILENCE_SECONDS,
    SUSPENSION_SECONDS,
    WAIT_NOTE_SECONDS,
    FaultDecision,
    LossDecision,
    WaitDecision,
    after_fault,
    after_loss,
    exclusion_seconds,
    handshake_objection,
    is_lost,
    may_move,
    no_nodes_left,
    no_shard_started,
    no_usable_node,
    node_lost,
    suspended_seconds,
    while_waiting,
)


def test_a_silent_shard_is_lost_after_five_minutes() -> None:
    """Until then it may be waiting for slow storage."""
    assert SILENCE_SECONDS == 300
    assert not is_lost(SILENCE_SECONDS)
    assert is_lost(SILENCE_SECONDS + 1)


def test_a_suspension_of_the_supervisor_is_not_silence() -> None:
    """Only a long delay is a suspension; a short one counts as silence."""
    assert suspended_seconds(SUSPENSION_SECONDS) == 0
    assert suspended_seconds(SUSPENSION_SECONDS + 1) == SUSPENSION_SECONDS + 1
    assert suspended_seconds(-0.5) == 0, "an iteration that was shorter than planned"


def test_a_track_is_retried_first_then_last_then_fails() -> None:
    """The first loss may be chance; the fifth ends the track."""
    assert [after_loss(losses) for losses in range(MAX_LOSSES + 1)] == [
        LossDecision.RETRY_NEXT,  # the shard ended without a fault
        *[LossDecision.RETRY_NEXT] * LOSSES_BY_CHANCE,
        *[LossDecision.RETRY_LAST] * (MAX_LOSSES - 1 - LOSSES_BY_CHANCE),
        LossDecision.GIVE_UP,
    ]
    assert node_lost(MAX_LOSSES).reason is Reason.NODE_LOST
    assert node_lost(MAX_LOSSES).message.startswith("5 nodes were lost")


def _may_move(
    reason: Reason,
    *,
    moves: int = 0,
    is_disk_shared: bool = True,
    is_source_missing: bool = False,
) -> bool:
    return may_move(
        reason,
        moves=moves,
        is_disk_shared=is_disk_shared,
        is_source_missing=is_source_missing,
    )


@pytest.mark.parametrize("reason", Reason)
def test_only_faults_of_a_node_move_a_track(reason: Reason) -> None:
    """Disk, engine, memory, storage or permissions may be better on another node."""
    faults_of_a_node = {
        Reason.DISK_FULL,
        Reason.ENGINE_UNAVAILABLE,
        Reason.NO_MEMORY,
        Reason.UNREACHABLE,
        Reason.UNWRITABLE,
    }
    assert _may_move(reason, is_disk_shared=False) is (reason in faults_of_a_node)


def test_a_full_disk_that_all_nodes_share_moves_nothing() -> None:
    """Another node would write to the same disk."""
    assert not _may_move(Reason.DISK_FULL, is_disk_shared=True)
    assert _may_move(Reason.DISK_FULL, is_disk_shared=False)


def test_a_source_that_only_this_node_misses_moves_the_track() -> None:
    """It is the node's mount, not the file."""
    assert _may_move(Reason.BAD_INPUT, is_source_missing=True)
    assert not _may_move(Reason.BAD_INPUT, is_source_missing=False)


def test_a_track_moves_at_most_twice() -> None:
    """After that its failure is reported."""
    assert MAX_MOVES == 2
    assert _may_move(Reason.NO_MEMORY, moves=MAX_MOVES - 1)
    assert not _may_move(Reason.NO_MEMORY, moves=MAX_MOVES)


def test_three_consecutive_faults_exclude_a_node_or_end_the_batch() -> None:
    """Shards that fail before they have a node leave nothing to exclude."""
    assert MAX_NODE_FAULTS == 3
    for has_node in (True, False):
        assert after_fault(MAX_NODE_FAULTS - 1, has_node=has_node) is FaultDecision.CONTINUE
    assert after_fault(MAX_NODE_FAULTS, has_node=True) is FaultDecision.EXCLUDE_NODE
    assert after_fault(MAX_NODE_FAULTS, has_node=False) is FaultDecision.END_BATCH
    assert "(no module)" in no_shard_started("no module").message


def test_each_exclusion_lasts_twice_as_long() -> None:
    """The durations are five, ten and twenty minutes."""
    assert EXCLUSION_SECONDS == 300
    assert [exclusion_seconds(count) for count in (1, 2, 3)] == [300, 600, 1200]


@pytest.mark.parametrize(
    ("idle_seconds", "has_nodes", "has_pending_nodes", "has_excluded_nodes", "expected"),
    [
        (0, True, False, False, WaitDecision.CONTINUE),
        (WAIT_NOTE_SECONDS, True, False, False, WaitDecision.CONTINUE),
        (WAIT_NOTE_SECONDS + 1, True, False, False, WaitDecision.INFORM_USER),
        (1801.0, True, False, False, WaitDecision.INFORM_USER),
        (0, False, False, False, WaitDecision.CONTINUE),
        (MAX_WAIT_SECONDS, False, False, False, WaitDecision.INFORM_USER),
        (MAX_WAIT_SECONDS + 1, False, False, False, WaitDecision.END_WITHOUT_NODES),
        (0, False, False, True, WaitDecision.END_WITHOUT_USABLE_NODES),
        (0, False, True, True, WaitDecision.CONTINUE),
        (0, True, False, True, WaitDecision.CONTINUE),
        (MAX_WAIT_SECONDS + 1, False, True, True, WaitDecision.END_WITHOUT_NODES),
    ],
)
def test_waiting_for_nodes(
    *,
    idle_seconds: float,
    has_nodes: bool,
    has_pending_nodes: bool,
    has_excluded_nodes: bool,
    expected: WaitDecision,
) -> None:
    """A batch waits half an hour for a first node, but not for nodes that are all excluded."""
    decision = while_waiting(
        idle_seconds,
        has_nodes=has_nodes,
        has_pending_nodes=has_pending_nodes,
        has_excluded_nodes=has_excluded_nodes,
    )
    assert decision is expected


def test_errors_of_a_cluster_without_usable_nodes() -> None:
    """The error has the reason and the remedy of the first node."""
    error = no_usable_node({"n0": "No engine. Get one.", "n1": "No disk. Buy one."})
    assert error.message == "No node of the cluster is usable: No engine."
    assert error.remedy == "Get one."
    assert no_usable_node({"n0": "No engine."}).message.endswith("usable: No engine.")
    assert "no nodes left" in no_nodes_left().message


@pytest.mark.parametrize(
    ("version", "sees_sentinel", "objection"),
    [
        ("2.0", True, ""),
        ("", True, "not installed there"),
        ("1.0", True, "it has stemsplit 1.0, but this machine has 2.0"),
        ("1.0", False, "it has stemsplit 1.0"),
        ("2.0", False, "does not see the folder “/mnt/out”"),
    ],
)
def test_a_handshake_accepts_the_same_version_that_sees_the_output_folder(
    *, version: str, sees_sentinel: bool, objection: str
) -> None:
    """The version is checked first, because another version may answer incorrectly."""
    why = handshake_objection(
        version, "2.0", sees_sentinel=sees_sentinel, sentinel=b"/mnt/out/.stemsplit-sign-1"
    )
    assert objection in why
    assert bool(why) is bool(objection)
