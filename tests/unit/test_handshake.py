"""The answer of a node to the cluster's handshake."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, NoReturn

import pytest

from stemsplit.core.version import DISTRIBUTION
from stemsplit.executors.ray_cluster import handshake
from stemsplit.executors.ray_cluster.handshake import installed_version

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


def test_the_version_of_the_installed_code() -> None:
    """It is that of the distribution, whose name the module knows by itself."""
    assert handshake.DISTRIBUTION == DISTRIBUTION
    assert installed_version() == importlib.metadata.version(DISTRIBUTION)


@pytest.mark.parametrize("missing", ["module", "package"])
def test_code_with_other_modules_has_another_version(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """A shard could not start there, although the version is the same."""
    real = importlib.util.find_spec

    def find_spec(name: str) -> ModuleSpec | None:
        if name == "stemsplit":
            return real(name)
        if missing == "package":
            raise ModuleNotFoundError(name)
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    version = importlib.metadata.version(DISTRIBUTION)
    assert installed_version() == f"{version} (other modules)"


def test_no_installation_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a folder of that name without a distribution."""
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, "find_spec", lambda _name: None)
        assert installed_version() == ""

    def version(name: str) -> NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert installed_version() == ""
