"""Mapping local paths to those of the nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stemsplit.core.errors import UsageError
from stemsplit.core.job import Job
from stemsplit.executors.ray_cluster.path_map import PathMap


def test_paths_are_mapped_by_whole_folders_longest_first() -> None:
    """`/music` does not contain `/musical`."""
    paths = PathMap.parse(["/home/me=/mnt", "/home/me/music=/data/in"])
    assert paths.on_nodes(b"/home/me/music/a.mp3") == b"/data/in/a.mp3"
    assert paths.on_nodes(b"/home/me/musical/a.mp3") == b"/mnt/musical/a.mp3"
    assert paths.on_nodes(b"/home/mess/a.mp3") == b"/home/mess/a.mp3"
    assert paths.on_nodes(b"/home/me") == b"/mnt"
    job = Job.of(Path("/home/me/music/a.mp3"), {"vocals": Path("/home/me/out/a/vocals.wav")})
    node_job = paths.job_on_nodes(job)
    assert node_job.source == b"/data/in/a.mp3"
    assert node_job.paths["vocals"] == Path("/mnt/out/a/vocals.wav")
    assert PathMap.parse(["/a=/b,/c=/d"]).on_nodes(b"/c/x") == b"/d/x", (
        "a settings file contains one string"
    )
    assert PathMap.parse(["/a, b=/c"]).on_nodes(b"/a, b/x") == b"/c/x"
    assert PathMap.parse(["/=/mnt"]).on_nodes(b"/a") == b"/mnt/a"


@pytest.mark.parametrize("text", ["", "/music", "music=/mnt", "/music=mnt", "="])
def test_invalid_path_maps(text: str) -> None:
    """The error shows the format."""
    with pytest.raises(UsageError, match="--path-map LOCAL=REMOTE"):
        PathMap.parse([text])
