"""Runs in the supervisor. Translates paths of this machine into paths of the nodes. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.errors import UsageError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stemsplit.core.job import Job


@dataclass(frozen=True, slots=True)
class PathMap:
    """Folders with a different path on the nodes.

    Attributes:
        pairs: local path and path on the nodes, longest local path first.
    """

    pairs: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> PathMap:
        """Parse texts of the form `LOCAL=REMOTE`, or several of them separated by commas.

        Raises:
            UsageError: if one is not a pair of absolute paths.
        """
        pairs = []
        for text in _split(texts):
            if not _is_pair(text):
                raise UsageError(
                    f"The path map {quoted(text)} is not a pair of absolute paths.",
                    "Use --path-map LOCAL=REMOTE, such as /home/me/music=/mnt/music.",
                )
            local, _, remote = text.rpartition("=")
            pairs.append((_folder(local), _folder(remote)))
        return cls(tuple(sorted(pairs, key=lambda pair: len(pair[0]), reverse=True)))

    def on_nodes(self, path: bytes) -> bytes:
        """Return the path on the nodes of a path of this machine."""
        for local, remote in self.pairs:
            if path == local or path.startswith(local + b"/"):
                return remote + path[len(local) :]
        return path

    def job_on_nodes(self, job: Job) -> Job:
        """Return a job with paths of the nodes."""
        source = os.path.abspath(job.source)  # noqa: PTH100 - bytes
        return msgspec.structs.replace(
            job, source=self.on_nodes(source), destination=self.on_nodes(job.destination)
        )


def _is_pair(text: str) -> bool:
    local, _, remote = text.rpartition("=")
    return local.startswith("/") and remote.startswith("/")


def _split(texts: Iterable[str]) -> Iterator[str]:
    """Split texts at commas, unless a part would not be a pair: paths may contain commas."""
    for text in texts:
        parts = text.split(",")
        yield from parts if all(map(_is_pair, parts)) else [text]


def _folder(path: str) -> bytes:
    """Return a path without a trailing slash, so that the root is empty."""
    return os.fsencode(os.path.normpath(path)).rstrip(b"/")
