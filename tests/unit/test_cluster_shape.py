"""How large shards are, and the paths that nodes have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.core.errors import UsageError
from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.executors.ray_cluster.path_map import PathMap
from stemsplit.executors.ray_cluster.sharding import (
    MOST_TRACKS,
    Machine,
    ShardSize,
    choose_shard_size,
    memory_of,
    tracks_of_next,
    weight,
)
from stemsplit.supervisor.prediction import MEBIBYTE, Footprint, Workload, footprint

GIBIBYTE = 1024 * MEBIBYTE


def _need(resources: Resources) -> Footprint:
    return footprint(Workload(kind="tensorflow", stems=2), resources, preloaded=True)


def _machine(cpus: float, memory: int = 64 * GIBIBYTE) -> Machine:
    return Machine(node=f"{cpus}", name="one", cpus=cpus, memory_bytes=memory)


def _shard_size(
    *machines: Machine, jobs: int | None = None, threads: int | None = None
) -> ShardSize:
    shard_size = choose_shard_size(machines, _need, jobs=jobs, threads=threads, max_ram=None)
    assert shard_size is not None
    return shard_size


@pytest.mark.parametrize(
    ("cpus", "jobs", "slots"),
    [
        ((1, 1, 1), 1, 3),
        ((4,), 4, 1),
        ((4, 4), 4, 2),
        ((64,), 8, 8),
        ((4, 6), 2, 5),  # no processor of the ten is left idle
        ((2, 64), 2, 33),
        ((3.5,), 3, 1),
        ((0.5, 2), 2, 1),
    ],
)
def test_the_shape_leaves_no_processor_idle(cpus: tuple[float, ...], jobs: int, slots: int) -> None:
    """And children share a fork server as far as that allows."""
    machines = [_machine(one) for one in cpus]
    shard_size = _shard_size(*machines)
    assert (shard_size.jobs, shard_size.slots(machines)) == (jobs, slots)
    assert shard_size.resources == Resources(threads=1)


def test_memory_counts_as_processors_do() -> None:
    """Eight processors with memory for four children: one instrument at a time makes it five."""
    shard_size = _shard_size(_machine(8, memory_of(_need(Resources()), 4)))
    assert shard_size.resources.lean
    assert shard_size.jobs == 5
    assert (
        choose_shard_size(
            [_machine(8, 300 * MEBIBYTE)], _need, jobs=None, threads=None, max_ram=None
        )
        is None
    )


def test_what_a_person_names_holds() -> None:
    """Children, threads and memory of a shard."""
    machine = _machine(16)
    shard_size = _shard_size(machine, jobs=3, threads=2)
    assert (shard_size.jobs, shard_size.cpus, shard_size.slots([machine])) == (3, 6, 2)
    half = choose_shard_size(
        [machine], _need, jobs=None, threads=None, max_ram=lambda whole: whole // 2
    )
    assert half is not None
    assert half.memory_bytes == machine.memory_bytes // 2
    assert _shard_size(jobs=5).jobs == 5, "a cluster without nodes yet"


@given(
    seconds=st.lists(st.floats(1, 4000), min_size=1, max_size=200),
    slots=st.integers(1, 50),
    jobs=st.integers(1, 8),
)
def test_shards_get_smaller_towards_the_end(seconds: list[float], slots: int, jobs: int) -> None:
    """None is empty, and what the first ones leave is enough for every other slot to begin with."""
    line = [weight(one) for one in seconds]
    count = tracks_of_next(line, left=sum(line), slots=slots, jobs=jobs)
    assert 1 <= count <= min(len(line), MOST_TRACKS)
    if slots > 1 and count > 1:
        assert sum(line[: count - 1]) <= sum(line) / slots + max(line)


def test_the_last_shards_are_small() -> None:
    """A thousand songs of four minutes on ten slots."""
    line = [weight(240.0)] * 1000
    sizes = []
    while line:
        count = tracks_of_next(line, left=sum(line), slots=10, jobs=1)
        sizes.append(count)
        line = line[count:]
    assert sizes[0] == 50
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= 2


def test_paths_are_mapped_by_whole_folders_the_longest_first() -> None:
    """`/music` is no folder of `/musical`."""
    paths = PathMap.parse(["/home/me=/mnt", "/home/me/music=/data/in"])
    assert paths.there(b"/home/me/music/a.mp3") == b"/data/in/a.mp3"
    assert paths.there(b"/home/me/musical/a.mp3") == b"/mnt/musical/a.mp3"
    assert paths.there(b"/home/mess/a.mp3") == b"/home/mess/a.mp3"
    assert paths.there(b"/home/me") == b"/mnt"
    job = Job.of(Path("/home/me/music/a.mp3"), {"vocals": Path("/home/me/out/a/vocals.wav")})
    there = paths.job_there(job)
    assert there.source == b"/data/in/a.mp3"
    assert there.paths["vocals"] == Path("/mnt/out/a/vocals.wav")
    assert PathMap.parse(["/a=/b,/c=/d"]).there(b"/c/x") == b"/d/x", "as a settings file gives it"
    assert PathMap.parse(["/a, b=/c"]).there(b"/a, b/x") == b"/c/x"
    assert PathMap.parse(["/=/mnt"]).there(b"/a") == b"/mnt/a"


@pytest.mark.parametrize("text", ["", "/music", "music=/mnt", "/music=mnt", "="])
def test_what_is_no_pair_of_paths_is_refused(text: str) -> None:
    """With what it should look like."""
    with pytest.raises(UsageError, match="--path-map HERE=THERE"):
        PathMap.parse([text])
