"""The size of shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.core.limits import Resources
from stemsplit.executors.ray_cluster.sharding import (
    MAX_TRACKS,
    Node,
    ShardSize,
    choose_shard_size,
    choose_track_count,
    shard_memory,
    track_weight,
)
from stemsplit.supervisor.prediction import MEBIBYTE, Footprint, Workload, footprint

GIBIBYTE = 1024 * MEBIBYTE


def _need(resources: Resources) -> Footprint:
    return footprint(Workload(kind="tensorflow", stems=2), resources, preloaded=True)


def _node(cpus: float, memory: int = 64 * GIBIBYTE) -> Node:
    return Node(node_id=f"{cpus}", name="node", cpus=cpus, memory_bytes=memory)


def _shard_size(*nodes: Node, jobs: int | None = None, threads: int | None = None) -> ShardSize:
    shard_size = choose_shard_size(nodes, _need, jobs=jobs, threads=threads, max_ram=None)
    assert shard_size is not None
    return shard_size


@pytest.mark.parametrize(
    ("cpus", "jobs", "slots"),
    [
        ((1, 1, 1), 1, 3),
        ((4,), 4, 1),
        ((4, 4), 4, 2),
        ((64,), 8, 8),
        ((4, 6), 2, 5),  # none of the ten processors is idle
        ((2, 64), 2, 33),
        ((3.5,), 3, 1),
        ((0.5, 2), 2, 1),
    ],
)
def test_no_processor_is_left_idle(cpus: tuple[float, ...], jobs: int, slots: int) -> None:
    """Within that limit, as many children as possible share a fork server."""
    nodes = [_node(count) for count in cpus]
    shard_size = _shard_size(*nodes)
    assert (shard_size.jobs, shard_size.slots(nodes)) == (jobs, slots)
    assert shard_size.resources == Resources(threads=1)


def test_memory_limits_a_shard_like_processors() -> None:
    """Eight processors with memory for four children run five lean children."""
    shard_size = _shard_size(_node(8, shard_memory(_need(Resources()), 4)))
    assert shard_size.resources.lean
    assert shard_size.jobs == 5
    assert (
        choose_shard_size([_node(8, 300 * MEBIBYTE)], _need, jobs=None, threads=None, max_ram=None)
        is None
    )


def test_the_user_s_choices_are_kept() -> None:
    """They are the children, threads and memory of a shard."""
    node = _node(16)
    shard_size = _shard_size(node, jobs=3, threads=2)
    assert (shard_size.jobs, shard_size.cpus, shard_size.slots([node])) == (3, 6, 2)
    half = choose_shard_size(
        [node], _need, jobs=None, threads=None, max_ram=lambda whole: whole // 2
    )
    assert half is not None
    assert half.memory_bytes == node.memory_bytes // 2
    assert _shard_size(jobs=5).jobs == 5, "the cluster has no nodes yet"


@given(
    seconds=st.lists(st.floats(1, 4000), min_size=1, max_size=200),
    slots=st.integers(1, 50),
    jobs=st.integers(1, 8),
)
def test_shards_get_smaller_towards_the_end(seconds: list[float], slots: int, jobs: int) -> None:
    """None is empty, and the first ones leave enough tracks for every other slot."""
    waiting = [track_weight(length) for length in seconds]
    count = choose_track_count(waiting, left=sum(waiting), slots=slots, jobs=jobs)
    assert 1 <= count <= min(len(waiting), MAX_TRACKS)
    if slots > 1 and count > 1:
        assert sum(waiting[: count - 1]) <= sum(waiting) / slots + max(waiting)


def test_the_last_shards_are_small() -> None:
    """A thousand songs of four minutes on ten slots."""
    waiting = [track_weight(240.0)] * 1000
    sizes = []
    while waiting:
        count = choose_track_count(waiting, left=sum(waiting), slots=10, jobs=1)
        sizes.append(count)
        waiting = waiting[count:]
    assert sizes[0] == 50
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= 2
