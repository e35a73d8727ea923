"""Runs in the supervisor. The journal's records of stem files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.text import quoted
from stemsplit.journal.fingerprints import fingerprint_of, is_same_stem
from stemsplit.storage.safe_paths import OutsideError, is_name, require_inside
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Stem(msgspec.Struct, frozen=True, array_like=True):
    """The file of a stem that is being published.

    Attributes:
        work_name: name of the file in the staging folder.
        path: destination below the output folder.
        size_bytes, modified_ns: the fingerprint; `modified_ns` is 0 for a remote destination.
    """

    work_name: str
    path: bytes
    size_bytes: int
    modified_ns: int

    @property
    def fingerprint(self) -> tuple[int, int]:
        """The fingerprint of the file (`stemsplit.journal.fingerprints`)."""
        return self.size_bytes, self.modified_ns

    def is_at(self, output: bytes) -> bool:
        """Return whether this file is at its destination below `output`."""
        try:
            fingerprint = fingerprint_of(os.path.join(output, self.path))
        except OSError:
            return False
        return fingerprint is not None and is_same_stem(fingerprint, self.fingerprint)


def pending_stems(staging: Path, moves: Mapping[str, Path], output: Path) -> list[Stem]:
    """Return the stems in a staging folder that are about to be published to `moves`.

    Raises:
        OSError: if a file is missing.
    """
    stems = []
    for name, path in moves.items():
        status = (staging / name).stat()
        below = os.path.relpath(os.fsencode(path), os.fsencode(output))
        modified_ns = 0 if is_remote(path) else status.st_mtime_ns
        stems.append(Stem(name, below, status.st_size, modified_ns))
    return stems


_stems: msgspec.msgpack.Decoder[tuple[Stem, ...]] = msgspec.msgpack.Decoder(tuple[Stem, ...])


def decode_stems(packed: bytes | None) -> tuple[Stem, ...]:
    """Return the stems in a job's column `coming`.

    Raises:
        OutsideError: if a path leads out of its folder.
    """
    stems = () if packed is None else _stems.decode(packed)
    for stem in stems:
        require_inside(stem.path)
        if not is_name(os.fsencode(stem.work_name)):
            raise OutsideError(f"{quoted(stem.work_name)} is not a file name")
    return stems


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFile:
    """A file that a job may replace: published by it, or agreed to be replaced.

    Attributes:
        job_key: the job.
        fingerprint: of the file then (`stemsplit.journal.fingerprints`).
    """

    job_key: bytes
    fingerprint: tuple[int, int]
