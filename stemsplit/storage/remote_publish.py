"""Runs in the supervisor. As `stemsplit.storage.publish`, on remote storage.

A work folder is there the hidden folder that a child has sent its finished files to. Storage knows
no renaming of a folder, and often none of a file: each file appears in its place whole, one after
the other, and what a crash leaves behind in between is completed by doing it again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.storage import remote

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def check_writable(staging: Path) -> None:
    """Write a small file into a work folder, and remove both.

    Raises:
        UnreachableError: if that fails.
    """
    with tempfile.NamedTemporaryFile() as probe:
        remote.send(Path(probe.name), staging / "probe", lambda: None)
    remote.remove(staging)


def publish(staging: Path, moves: Mapping[str, Path]) -> None:
    """Give each file its place, over an older one of its name, and remove the work folder.

    Raises:
        FileNotFoundError, UnreachableError: if one cannot be put in place.
    """
    for name, path in moves.items():
        remote.move(staging / name, path)
    remote.remove(staging)


def take_back(staging: Path, moves: Mapping[str, Path], replaced: Collection[str]) -> bool:
    """As `stemsplit.storage.publish.take_back`."""
    complete = True
    for name, path in moves.items():
        if remote.status(staging / name) is not None:
            continue
        if name in replaced:
            complete = False
        else:
            remote.move(path, staging / name)
    return complete


def left_behind(staging: Path, moves: Mapping[str, Path]) -> bool:
    """As `stemsplit.storage.publish.left_behind`."""
    return any(remote.status(staging / name) is not None for name in moves)
