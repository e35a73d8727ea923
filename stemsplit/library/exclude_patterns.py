"""Runs in the supervisor. Matches files and folders against exclude patterns, by path alone."""

from __future__ import annotations

import fnmatch
import glob
import os
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.errors import UsageError
from stemsplit.storage.urls import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """An exclude pattern.

    Attributes:
        parts: the components between its slashes.
        is_name: whether it matches a name at any depth.
        matches_folders_only: whether it ends in a slash.
        is_rooted: whether it may be an absolute path.
    """

    parts: tuple[str, ...]
    is_name: bool
    matches_folders_only: bool
    is_rooted: bool

    def matches(self, below: Sequence[str], path: Path, *, is_folder: bool) -> bool:
        """Return whether a file or folder matches; see `Exclusions`."""
        if self.matches_folders_only and not is_folder:
            return False
        if self.is_name:
            return _matches_name(below[-1], self.parts[0])
        if matches_pattern(below, self.parts):
            return True
        if glob.has_magic(self.parts[0]):  # `*/song.wav` is relative to the input
            return False
        parts = _parts_below_root(path.absolute()) if self.is_rooted else path.parts
        return matches_pattern(parts, self.parts)


class Exclusions:
    """Patterns of files and folders to exclude, as in rsync and Git.

    A pattern without a slash matches the name of a file or folder at any depth. A pattern with a
    slash matches a path: relative to the input, as the input was given, or absolute if the pattern
    begins with a slash. `*` and `?` match no slash; `**` matches any number of folders; a trailing
    slash restricts the pattern to folders. Patterns are case-sensitive. Unicode normalisation forms
    are equal, because file systems may change them.

    Raises:
        UsageError: if a pattern is empty.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Parse the patterns."""
        self._patterns = {pattern: self._parse(pattern) for pattern in patterns}
        self._matched: set[str] = set()

    def __bool__(self) -> bool:
        """Return whether there are any patterns."""
        return bool(self._patterns)

    @staticmethod
    def _parse(pattern: str) -> _Pattern:
        text = os.fspath(path_of(pattern)) if "://" in pattern else pattern
        if os.sep != "/":
            text = text.replace(os.sep, "/")
        parts = tuple(part for part in text.split("/") if part)
        if not [part for part in parts if part != "."]:
            raise UsageError(
                f"The --exclude pattern “{pattern}” does not name a file or folder.",
                "Use the name of a file or folder, such as Podcasts or '*.m4b'.",
            )
        return _Pattern(
            parts=parts[1:] if parts[0] == "." else parts,
            is_name="/" not in text.rstrip("/"),
            matches_folders_only=text.endswith("/"),
            is_rooted=text.startswith("/") or parts[0].endswith(":"),
        )

    def match(self, below: Sequence[str], path: Path, *, is_folder: bool) -> bool:
        """Return whether a pattern matches a file or folder.

        `below` has the components of its path below the input.
        """
        for text, pattern in self._patterns.items():
            if pattern.matches(below, path, is_folder=is_folder):
                self._matched.add(text)
                return True
        return False

    @property
    def unmatched(self) -> list[str]:
        """The patterns that have matched nothing so far."""
        return [text for text in self._patterns if text not in self._matched]

    def first_match(self, below: Sequence[str], path: Path, *, is_folder: bool) -> Path | None:
        """Return the topmost excluded path among a file or folder and its parents, None if none is.

        For inputs, whose parent folders the search does not visit.
        """
        for depth in range(1, len(below) + 1):
            levels_up = len(below) - depth
            candidate = path.parents[levels_up - 1] if levels_up else path
            if self.match(below[:depth], candidate, is_folder=is_folder or levels_up > 0):
                return candidate
        return None


def _parts_below_root(path: Path) -> tuple[str, ...]:
    """Return the components of an absolute path without its root, but with a Windows drive."""
    return tuple(part for component in path.parts if (part := component.rstrip("\\/")))


def _matches_name(name: str, pattern: str) -> bool:
    """Return whether a name equals a pattern or matches it."""
    name, pattern = (
        text if text.isascii() else unicodedata.normalize("NFC", text) for text in (name, pattern)
    )
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def matches_pattern(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a path matches a pattern, component by component.

    `**` matches any number of folders.
    """
    if not pattern:
        return not path
    if pattern[0] == "**":
        rest = pattern[1:]
        return (
            not rest
            or matches_pattern(path, rest)
            or (bool(path) and matches_pattern(path[1:], pattern))
        )
    return (
        bool(path) and _matches_name(path[0], pattern[0]) and matches_pattern(path[1:], pattern[1:])
    )
