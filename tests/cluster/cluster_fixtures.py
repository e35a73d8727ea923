"""A cluster of real nodes, shared by the tests of a module; and a small library."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cluster_nodes import Nodes
from common import COMMAND, content
from node_kills import make_library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those with nodes run in one: they share a machine."""
    for item in items:
        if {"cluster", "storage"} & {*item.path.parts}:
            item.add_marker(pytest.mark.xdist_group("nodes"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes of one processor each, and a head without one, with a token."""
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
    """What the pool of one machine makes of the library on one disk."""
    output = tmp_path_factory.mktemp("reference") / "out"
    subprocess.run([COMMAND, "separate", library, "-o", output, "--quiet"], check=True)
    return content(output)
