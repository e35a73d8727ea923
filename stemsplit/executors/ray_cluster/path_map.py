"""Runs in the supervisor. The paths of this machine as the nodes have them, and back. Pure."""

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
    """Folders that nodes see at another path than this machine does.

    Attributes:
        pairs: the path here and the path there, the longest first.
    """

    pairs: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> PathMap:
        """Read `HERE=THERE` of each text, or several of them with commas between.

        Raises:
            UsageError: if one is no such pair of absolute paths.
        """
        pairs = []
        for text in _each(texts):
            here, _, there = text.rpartition("=")
            if not _is_pair(text):
                raise UsageError(
                    f"The path map {quoted(text)} is no pair of absolute paths.",
                    "Give --path-map HERE=THERE, such as /home/me/music=/mnt/music.",
                )
            pairs.append((_folder(here), _folder(there)))
        return cls(tuple(sorted(pairs, key=lambda pair: len(pair[0]), reverse=True)))

    def there(self, path: bytes) -> bytes:
        """Give the path that nodes have for one of this machine."""
        for here, there in self.pairs:
            if path == here or path.startswith(here + b"/"):
                return there + path[len(here) :]
        return path

    def job_there(self, job: Job) -> Job:
        """Give a job as nodes have it."""
        source = os.path.abspath(job.source)  # noqa: PTH100 - bytes
        return msgspec.structs.replace(
            job, source=self.there(source), destination=self.there(job.destination)
        )


def _is_pair(text: str) -> bool:
    here, _, there = text.rpartition("=")
    return here.startswith("/") and there.startswith("/")


def _each(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        parts = text.split(",")
        yield from parts if all(map(_is_pair, parts)) else [text]


def _folder(path: str) -> bytes:
    """Give a folder's path without a slash at its end; that of the root is empty."""
    return os.fsencode(os.path.normpath(path)).rstrip(b"/")
