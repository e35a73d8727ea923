"""Fixtures for tests on a cluster: real nodes, and a small library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cluster_nodes import Nodes
from node_kills import make_library, separate_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes with one processor each and a head without any; they require a token."""
    with Nodes(environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}) as started:
        for _ in range(2):
            started.add()
        yield started


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight songs of 5 to 20 seconds."""
    folder = tmp_path_factory.mktemp("music") / "library"
    make_library(folder, tracks=8, seconds=20.0)
    return folder


@pytest.fixture(scope="session")
def reference(library: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the stems that this machine alone writes for the library."""
    return separate_here(library, tmp_path_factory.mktemp("reference") / "out")
