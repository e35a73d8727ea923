"""Runs in the supervisor. What a search of folders leaves out: by pattern, and by its kind.

Decides by names alone, and keeps an account of what was left out.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.core.errors import UsageError
from stemsplit.storage.remote import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_SYSTEM_FOLDERS = frozenset(
    {
        # NAS: Synology, QNAP, ASUSTOR, NetApp
        "#recycle",
        "#snapshot",
        "@eadir",
        "@sharebin",
        "@sharesnap",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@transcode",
        ".@__thumb",
        ".@upload_cache",
        ".@recycle",
        "~snapshot",
        # Windows
        "$recycle.bin",
        "recycler",
        # Linux, Samba, snapshots of file systems
        "lost+found",
        ".trash",
        ".recycle",
        ".recycle.bin",
        ".snapshot",
        ".snapshots",
        ".zfs",
        ".thumbnails",
        ".cache",
        # macOS
        "__macosx",
        ".trashes",
        ".appledouble",
        ".appledb",
        ".appledesktop",
        ".spotlight-v100",
        ".fseventsd",
        ".temporaryitems",
        ".documentrevisions-v100",
        ".mobilebackups",
        # Android; programs that synchronise or keep versions
        "lost.dir",
        ".stversions",
        ".dropbox.cache",
        ".sync",
        ".git",
        ".svn",
        "system volume information",
        "network trash folder",
        "temporary items",
    }
)
_SYSTEM_PATTERNS = re.compile(r"\.trash-.+|found\.\d{3}")


def is_system_folder(name: str) -> bool:
    """Tell whether a folder of this name is a trash, or a system's or another program's own."""
    folded = name.casefold()
    return folded in _SYSTEM_FOLDERS or _SYSTEM_PATTERNS.fullmatch(folded) is not None


@dataclass(slots=True)
class LeftOut:
    """What was left out, each file and folder once.

    Attributes:
        system: trash and system folders.
        hidden: folders, and audio files, whose names begin with a dot.
        excluded_files: by a pattern.
        excluded_folders: likewise.
        unknown: files that are not audio, neither by name nor by content, and not known to be
            something else.
        unfinished: files that another program is still writing, by their names.
    """

    system: set[Path] = field(default_factory=set)
    hidden: set[Path] = field(default_factory=set)
    excluded_files: set[Path] = field(default_factory=set)
    excluded_folders: set[Path] = field(default_factory=set)
    unknown: set[Path] = field(default_factory=set)
    unfinished: set[Path] = field(default_factory=set)


def names_of(paths: Iterable[Path], most: int = 5) -> str:
    """Return the names of files or folders, the most frequent first."""
    return _first(Counter(path.name for path in paths), most)


def endings_of(paths: Iterable[Path], most: int = 8) -> str:
    """Return the endings of files, the most frequent first, with their counts."""
    counts = Counter(path.suffix.lower() or "none" for path in paths)
    return _first(Counter({f"{ending} {count}": count for ending, count in counts.items()}), most)


def _first(counts: Counter[str], most: int) -> str:
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    more = [f"{len(ordered) - most} more"] if len(ordered) > most else []
    return ", ".join([*ordered[:most], *more])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pattern:
    """One pattern.

    Attributes:
        parts: between its slashes.
        is_name: whether it is a name at any depth.
        folders_alone: whether it ends in a slash.
        is_rooted: whether it may be an absolute path.
    """

    parts: tuple[str, ...]
    is_name: bool
    folders_alone: bool
    is_rooted: bool

    def matches(self, below: Sequence[str], path: Path, *, is_folder: bool) -> bool:
        """Tell whether a file or folder is meant; see `Exclusions`."""
        if self.folders_alone and not is_folder:
            return False
        if self.is_name:
            return _is_like(below[-1], self.parts[0])
        if fits(below, self.parts):
            return True
        if glob.has_magic(self.parts[0]):  # `*/song.wav` means one folder below the input alone
            return False
        whole = _named_parts(path.absolute()) if self.is_rooted else path.parts
        return fits(whole, self.parts)


class Exclusions:
    """Patterns of files and folders that are left out, as in rsync and Git.

    A pattern without a slash is the name of a file or folder at any depth. One with a slash is a
    path: below the input, as the input was given, or, if it begins with a slash, absolute. `*` and
    `?` stand for no slash, `**` for any number of folders; one that ends in a slash means folders.
    Upper and lower case differ; forms of Unicode do not, because a disk may change them.

    Raises:
        UsageError: if a pattern is empty.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Read the patterns."""
        self._patterns = {pattern: self._parse(pattern) for pattern in patterns}
        self._matched: set[str] = set()

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._patterns)

    @staticmethod
    def _parse(pattern: str) -> _Pattern:
        text = os.fspath(path_of(pattern)) if "://" in pattern else pattern
        if os.sep != "/":
            text = text.replace(os.sep, "/")
        parts = tuple(part for part in text.split("/") if part)
        if not [part for part in parts if part != "."]:
            raise UsageError(
                f"The pattern “{pattern}” of --exclude names nothing.",
                "Give the name of a file or folder, such as Podcasts or '*.m4b'.",
            )
        return _Pattern(
            parts=parts[1:] if parts[0] == "." else parts,
            is_name="/" not in text.rstrip("/"),
            folders_alone=text.endswith("/"),
            is_rooted=text.startswith("/") or parts[0].endswith(":"),
        )

    def match(self, below: Sequence[str], path: Path, *, is_folder: bool) -> bool:
        """Tell whether a file or folder is left out.

        Args:
            below: the parts of its path below the input.
            path: its whole path.
            is_folder: whether it is one.
        """
        for text, pattern in self._patterns.items():
            if pattern.matches(below, path, is_folder=is_folder):
                self._matched.add(text)
                return True
        return False

    @property
    def unmatched(self) -> list[str]:
        """The patterns that nothing has matched."""
        return [text for text in self._patterns if text not in self._matched]

    def first(self, below: Sequence[str], path: Path, *, is_folder: bool) -> Path | None:
        """Return the folder above a file or folder, or itself, that is left out; None if none is.

        For what is not reached by way of its folders.
        """
        for depth in range(1, len(below) + 1):
            above = len(below) - depth
            one = path.parents[above - 1] if above else path
            if self.match(below[:depth], one, is_folder=is_folder or above > 0):
                return one
        return None


def _named_parts(path: Path) -> tuple[str, ...]:
    """Return the parts of an absolute path without its root, but with Windows' drive."""
    return tuple(part for one in path.parts if (part := one.rstrip("\\/")))


def _is_like(name: str, pattern: str) -> bool:
    """Tell whether a name is a pattern, or matches it."""
    name, pattern = (
        one if one.isascii() else unicodedata.normalize("NFC", one) for one in (name, pattern)
    )
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a path fits a pattern, part by part; `**` stands for any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        rest = pattern[1:]
        return not rest or fits(path, rest) or (bool(path) and fits(path[1:], pattern))
    return bool(path) and _is_like(path[0], pattern[0]) and fits(path[1:], pattern[1:])
