"""Runs in the supervisor. Decides which files and folders of a search are ignored.

Decides by name. Reads the first bytes of a file only if its extension does not decide.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.library.extensions import (
    AMBIGUOUS_EXTENSIONS,
    AUDIO_EXTENSIONS,
    NON_AUDIO_EXTENSIONS,
    UNFINISHED_EXTENSIONS,
)
from stemsplit.library.probe import has_media_head
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stemsplit.library.exclude_patterns import Exclusions

_SYSTEM_FOLDERS = frozenset((
    # NAS: Synology, QNAP, ASUSTOR, NetApp
    "#recycle", "#snapshot", "@eadir", "@sharebin", "@sharesnap", "@tmp", "@recycle",
    "@recently-snapshot", "@transcode", ".@__thumb", ".@upload_cache", ".@recycle", "~snapshot",
    # Windows
    "$recycle.bin", "recycler",
    # Linux, Samba, snapshots of file systems
    "lost+found", ".trash", ".recycle", ".recycle.bin", ".snapshot", ".snapshots", ".zfs",
    ".thumbnails", ".cache",
    # macOS
    "__macosx", ".trashes", ".appledouble", ".appledb", ".appledesktop", ".spotlight-v100",
    ".fseventsd", ".temporaryitems", ".documentrevisions-v100", ".mobilebackups",
    # Android; programs that synchronise or keep versions
    "lost.dir", ".stversions", ".dropbox.cache", ".sync", ".git", ".svn",
    "system volume information", "network trash folder", "temporary items",
))  # fmt: skip
_SYSTEM_PATTERNS = re.compile(r"\.trash-.+|found\.\d{3}")

_STEMSPLIT_PREFIX = ".stemsplit"
"""Prefix of stemsplit's own folders, which are ignored without a note."""


@dataclass(slots=True)
class IgnoredPaths:
    """The files and folders that a scan ignored, each once.

    Attributes:
        system: trash and system folders.
        hidden: folders and audio files whose names begin with a dot.
        excluded_files: files that an exclude pattern matches.
        excluded_folders: folders that an exclude pattern matches.
        unknown: files that are not audio by name or content, nor known to be something else.
        unfinished: files that another program is still writing, by their extensions.
    """

    system: set[Path] = field(default_factory=set)
    hidden: set[Path] = field(default_factory=set)
    excluded_files: set[Path] = field(default_factory=set)
    excluded_folders: set[Path] = field(default_factory=set)
    unknown: set[Path] = field(default_factory=set)
    unfinished: set[Path] = field(default_factory=set)


def explicit_names(pattern: Iterable[str]) -> tuple[str, ...]:
    """Return the components of a pattern that include hidden and system folders by name."""
    return tuple(part for part in pattern if part.startswith(".") or not glob.has_magic(part))


def has_audio_extension(path: Path) -> bool:
    """Return whether the extension of a file is one of audio or video files."""
    return path.suffix.lower() in AUDIO_EXTENSIONS


def _is_system_folder(name: str) -> bool:
    """Return whether a folder of this name is a trash, or for the system or another program."""
    folded = name.casefold()
    return folded in _SYSTEM_FOLDERS or _SYSTEM_PATTERNS.fullmatch(folded) is not None


class FileFilter:
    """Decides which files and folders are ignored, and records them.

    Attributes:
        ignored: the ignored files and folders so far.
        excluded_count: number of matches of exclude patterns, repeated ones included. A folder
            whose files are all excluded is not reported as empty.
    """

    def __init__(self, exclusions: Exclusions) -> None:
        """Ignore nothing yet, and exclude what `exclusions` match."""
        self._exclusions = exclusions
        self.ignored = IgnoredPaths()
        self.excluded_count = 0

    def excludes_input(self, path: Path, folder: Path, *, is_folder: bool) -> bool:
        """Return whether an input, or one of the folders above it in `folder`, is excluded."""
        path = path if is_remote(path) else Path(os.path.normpath(path))
        if not path.name:
            return False
        below = (*folder.parts, path.name)
        excluded = self._exclusions.first_match(below, path, is_folder=is_folder)
        if excluded is None:
            return False
        self._record_excluded(excluded, is_folder=is_folder or excluded != path)
        return True

    def ignores(
        self, below: Sequence[str], path: Path, explicit: Sequence[str], *, is_folder: bool
    ) -> bool:
        """Return whether a file or folder that a search found is ignored.

        `below` has the components of its path below the input; `explicit` has the names that are
        not ignored, as `explicit_names` returns them.
        """
        name = below[-1]
        if is_folder and name.startswith(_STEMSPLIT_PREFIX):
            return True
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in explicit):
            if is_folder and _is_system_folder(name):
                self.ignored.system.add(path)
                return True
            if name.startswith("."):
                if is_folder or (has_audio_extension(path) and not name.startswith("._")):
                    self.ignored.hidden.add(path)
                return True
        if self._exclusions and self._exclusions.match(below, path, is_folder=is_folder):
            if is_folder or path.suffix.lower() not in NON_AUDIO_EXTENSIONS:
                self._record_excluded(path, is_folder=is_folder)
            return True
        return False

    def ignores_below(
        self, below: Sequence[str], base: Path, explicit: Sequence[str], *, is_folder: bool = False
    ) -> bool:
        """Return whether a file or folder, or a folder between it and `base`, is ignored."""
        return any(
            self.ignores(
                below[:depth],
                base.joinpath(*below[:depth]),
                explicit,
                is_folder=is_folder or depth < len(below),
            )
            for depth in range(1, len(below) + 1)
        )

    def is_audio(self, path: Path) -> bool:
        """Return whether a file is audio or video, by its extension or its first bytes."""
        extension = path.suffix.lower()
        if extension in AUDIO_EXTENSIONS:
            return True
        if extension in NON_AUDIO_EXTENSIONS:
            return False
        if extension in UNFINISHED_EXTENSIONS:
            self.ignored.unfinished.add(path)
            return False
        # Remote files are not opened for their first bytes.
        if not is_remote(path) and has_media_head(path):
            return True
        if not is_remote(path) or extension in AMBIGUOUS_EXTENSIONS:
            self.ignored.unknown.add(path)
        return False

    def is_selected(self, file: Path, pattern: Sequence[str]) -> bool:
        """Return whether a file is a track: a pattern such as `*.dat` selects any file."""
        has_extension = bool(pattern) and Path(pattern[-1]).suffix not in {"", ".*"}
        return has_extension or self.is_audio(file)

    def _record_excluded(self, path: Path, *, is_folder: bool) -> None:
        paths = self.ignored.excluded_folders if is_folder else self.ignored.excluded_files
        paths.add(path)
        self.excluded_count += 1
