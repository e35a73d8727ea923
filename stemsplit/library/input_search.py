"""Runs in the supervisor. What one input leads to: a file, a folder, a pattern, an address.

Goes by names; only in folders, and only where a name's ending says nothing, by first bytes. Whether
a file really is audio is for the child to find out.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.core.text import quoted
from stemsplit.library.exclusion import LeftOut, fits, is_system_folder
from stemsplit.library.extensions import (
    AUDIO_SUFFIXES,
    OTHER_SUFFIXES,
    SHARED_SUFFIXES,
    UNFINISHED_SUFFIXES,
)
from stemsplit.library.folder_walk import Folders, Stems, tells
from stemsplit.library.probe import sounds
from stemsplit.storage import remote
from stemsplit.storage.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stemsplit.library.exclusion import Exclusions
    from stemsplit.storage.remote import Status

_OUR_PREFIX = ".stemsplit"
"""Of our own folders, which nobody is told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One input file.

    Attributes:
        path: the file.
        folder: its folder below the input that it was found in; `.` for a file named itself.
        there: what is known of a remote file; None for one of this machine.
    """

    path: Path
    folder: Path
    there: Status | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An input that leads to no track.

    Attributes:
        path: the input.
        message: one sentence that says why.
        remedy: what to do.
    """

    path: Path
    message: str
    remedy: str


def _folder_named(path: Path) -> Path:
    """Return the folders that a path names, without its root and steps out of a folder."""
    folder = Path(os.path.normpath(path)).parent
    return Path(*(part for part in folder.parts if part not in {folder.anchor, ".."}))


def _folder_kept(path: Path) -> Path:
    folder = Path(os.path.normpath(path.parent))
    leads_out = folder.is_absolute() or ".." in folder.parts
    return Path() if leads_out else folder


def _moved_below(found: Iterable[Track | Problem], folder: Path) -> Iterator[Track | Problem]:
    for one in found:
        if isinstance(one, Track):
            yield Track(path=one.path, folder=folder / one.folder)
        else:
            yield one


def _until_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _named_in(pattern: Iterable[str]) -> tuple[str, ...]:
    """Return those parts of a pattern that mean hidden and system folders, if they match them."""
    return tuple(one for one in pattern if one.startswith(".") or not glob.has_magic(one))


class Search:
    """One search, and its account of what it left out.

    Attributes:
        left_out: files and folders.
        unreadable: folders below an input that cannot be read, by their paths.
    """

    def __init__(self, output: Path | None, exclusions: Exclusions, *, with_stems: bool) -> None:
        """Find nothing yet."""
        self._output = output
        self._exclusions = exclusions
        self._stems = Stems(none=with_stems)
        self._excluded = 0  # also what was met before, so that a second input is not called empty
        self.left_out = LeftOut()
        self.unreadable: dict[Path, Problem] = {}

    def listed(self, entry: Path, base: Path | None) -> Iterator[Track | Problem]:
        """Follow one entry of a list; a folder keeps its own path as a file does its folder's."""
        path = entry if base is None else base / entry
        if path.is_dir():
            if not self._excludes(path, _folder_named(path), is_folder=True):
                yield from _moved_below(self._below(path), _folder_kept(entry / "x"))
        elif not self._stems.hold(path):
            yield from self.named(path, _folder_kept(entry), is_listed=True)

    def named(
        self, path: Path, folder: Path = Path(), *, is_listed: bool = False
    ) -> Iterator[Track | Problem]:
        """Follow one input.

        Args:
            path: the input.
            folder: that its track keeps.
            is_listed: whether it comes from a list, so that exclusions see all of its folders.
        """
        kept = _folder_named(path) if is_listed else _folder_kept(path)
        if is_remote(path):
            yield from self._remote(path, folder, kept)
            return
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            yield from self._matching(path)
            return
        except (OSError, ValueError) as error:
            yield unreadable(path, error)
            return
        if self._excludes(path, kept, is_folder=stat.S_ISDIR(mode)):
            return
        if stat.S_ISDIR(mode):
            yield from self._below(path)
        elif stat.S_ISREG(mode):
            yield Track(path=path, folder=folder)
        else:
            yield Problem(
                path=path,
                message=f"{quoted(path)} is a pipe or a device.",
                remedy="Write the sound into a file first: its length must be known.",
            )

    def _excludes(self, path: Path, kept: Path, *, is_folder: bool) -> bool:
        """Tell whether something that is not reached by way of its folders is left out."""
        path = path if is_remote(path) else Path(os.path.normpath(path))
        below = (*kept.parts, path.name)
        out = self._exclusions.first(below, path, is_folder=is_folder) if path.name else None
        return out is not None and self._note_excluded(out, is_folder=is_folder or out != path)

    def _note_excluded(self, path: Path, *, is_folder: bool) -> bool:
        out = self.left_out
        (out.excluded_folders if is_folder else out.excluded_files).add(path)
        self._excluded += 1
        return True

    def _leaves_out(
        self, below: Sequence[str], path: Path, named: Sequence[str], *, is_folder: bool
    ) -> bool:
        """Tell whether a file or folder that was met is left out.

        Args:
            below: the parts of its path below the input.
            path: its whole path.
            named: as `_named_in` returns them.
            is_folder: whether it is one.
        """
        name = below[-1]
        if is_folder and name.startswith(_OUR_PREFIX):
            return True
        if not any(fnmatch.fnmatchcase(name, one) for one in named):
            if is_folder and is_system_folder(name):
                self.left_out.system.add(path)
                return True
            if name.startswith("."):
                if is_folder or (_suffix(path) in AUDIO_SUFFIXES and not name.startswith("._")):
                    self.left_out.hidden.add(path)
                return True
        if self._exclusions and self._exclusions.match(below, path, is_folder=is_folder):
            # A picture that is excluded changes nothing.
            is_meant = is_folder or _suffix(path) not in OTHER_SUFFIXES
            return not is_meant or self._note_excluded(path, is_folder=is_folder)
        return False

    def _leaves_out_any(
        self, below: Sequence[str], base: Path, named: Sequence[str], *, is_folder: bool = False
    ) -> bool:
        """Tell whether a file or folder, or one of the folders above it, is left out."""
        return any(
            self._leaves_out(
                below[:depth],
                base.joinpath(*below[:depth]),
                named,
                is_folder=is_folder or depth < len(below),
            )
            for depth in range(1, len(below) + 1)
        )

    def _is_audio(self, path: Path) -> bool:
        suffix = _suffix(path)
        if suffix in AUDIO_SUFFIXES:
            return True
        if suffix in OTHER_SUFFIXES:
            return False
        if suffix in UNFINISHED_SUFFIXES:
            self.left_out.unfinished.add(path)
            return False
        # What can be read only over a network is not, for its first bytes alone.
        if not is_remote(path) and sounds(path):
            return True
        if not is_remote(path) or suffix in SHARED_SUFFIXES:
            self.left_out.unknown.add(path)
        return False

    def _matching(self, path: Path) -> Iterator[Track | Problem]:
        """Follow a pattern, which the shell has not expanded."""
        pattern = os.fspath(path)
        if not glob.has_magic(pattern):
            yield Problem(
                path=path, message=f"{quoted(path)} does not exist.", remedy="Check the path."
            )
            return
        base = Path(*_until_magic(path.parts))
        if self._excludes(base, _folder_kept(base), is_folder=True):
            return
        excluded, empty = self._excluded, True
        for one in self._matches(path, base):
            empty = False
            yield one
        if empty and self._excluded == excluded:
            yield Problem(
                path=path, message=f"Nothing matches {quoted(path)}.", remedy="Check the pattern."
            )

    def _matches(self, pattern: Path, base: Path) -> Iterator[Track | Problem]:
        parts = pattern.relative_to(base).parts
        named = _named_in(parts)
        if "**" in parts:
            # By our own search, which does not go in circles.
            yield from (one for one in self._below(base, parts) if isinstance(one, Track))
            return
        for match in map(Path, sorted(glob.glob(os.fspath(pattern)))):
            below = match.relative_to(base).parts
            is_folder = match.is_dir()
            if self._leaves_out_any(below, base, named, is_folder=is_folder):
                continue
            if is_folder:
                yield from _moved_below(self._below(match), match.relative_to(base))
            elif match.is_file() and self._wants(match, parts) and not self._stems.hold(match):
                yield Track(path=match, folder=match.parent.relative_to(base))

    def _wants(self, file: Path, pattern: Sequence[str]) -> bool:
        """Tell whether a file is meant: `*.dat` says what kind it means, `*` does not."""
        is_said = pattern and Path(pattern[-1]).suffix not in {"", ".*"}
        return bool(is_said) or self._is_audio(file)

    def _remote(self, path: Path, folder: Path, kept: Path) -> Iterator[Track | Problem]:
        """Follow one input that is an address: of a file, of what is below it, or of a pattern."""
        base = path
        try:
            there = remote.status(path)
            if there is not None:
                if not self._excludes(path, kept, is_folder=False):
                    yield Track(path=path, folder=folder, there=there)
                return
            files = remote.listing(path)
            if not files and glob.has_magic(os.fspath(path)):
                base = Path(*_until_magic(path.parts))
                files = remote.listing(base) if is_remote(base) else {}
        except (OSError, StemsplitError) as error:
            yield unreadable(path, error)
            return
        excluded, empty = self._excluded, True
        if self._excludes(base, kept, is_folder=True):
            return
        for file in self._listed_audio(files, base, path.relative_to(base).parts):
            empty = False
            if not self._stems.hold(file):
                folder = file.parent.relative_to(base)
                yield Track(path=file, folder=folder, there=files[file])
        if empty and self._excluded == excluded:
            yield Problem(
                path=path,
                message=f"There are no audio files at {quoted(path)}.",
                remedy="Check the address, and that it may be listed.",
            )

    def _listed_audio(
        self, files: Iterable[Path], base: Path, pattern: Sequence[str]
    ) -> Iterator[Path]:
        """Choose the audio files of a remote listing."""
        named = _named_in(pattern)
        output = None if self._output == base else self._output
        for file in files:
            below = file.relative_to(base).parts
            if output is not None and file.is_relative_to(output):
                continue
            if pattern and not fits(below, pattern):
                continue
            if not self._leaves_out_any(below, base, named) and self._is_audio(file):
                yield file

    def _below(self, top: Path, pattern: Sequence[str] = ()) -> Iterator[Track | Problem]:
        """Search a folder.

        Args:
            top: the folder.
            pattern: that the paths of files below it are to match, in parts; empty for any.
        """
        folders, named = Folders(top, self._output), _named_in(pattern)
        excluded, empty = self._excluded, True
        for folder in folders:
            try:
                entries = _entries(folder)
            except OSError as error:
                empty = False
                if folder == top:
                    yield unreadable(folder, error)
                else:
                    self.unreadable[folder] = unreadable(folder, error)
                continue
            parts = folder.relative_to(top).parts
            kept = [one for one in entries if not self._leaves_out_entry(one, parts, named)]
            folders.add(folder, [entry for entry in kept if tells(entry.is_dir)])
            for entry in kept:
                if pattern and not fits((*parts, entry.name), pattern):
                    continue
                for one in self._entry(entry, folder / entry.name, top, pattern):
                    empty = False
                    if isinstance(one, Problem) or not self._stems.hold(one.path):
                        yield one
        if empty and self._excluded == excluded:
            yield Problem(
                path=top,
                message=f"The folder {quoted(top)} holds no audio files.",
                remedy="Check the path, or name the files themselves if their endings are unusual.",
            )

    def _leaves_out_entry(
        self, entry: os.DirEntry[str], parts: Sequence[str], named: Sequence[str]
    ) -> bool:
        below, is_folder = (*parts, entry.name), tells(entry.is_dir)
        return self._leaves_out(below, Path(entry.path), named, is_folder=is_folder)

    def _entry(
        self, entry: os.DirEntry[str], path: Path, top: Path, pattern: Sequence[str]
    ) -> Iterator[Track | Problem]:
        """Look at what lies in a folder, once it is known to be meant."""
        if tells(entry.is_file) and self._wants(path, pattern):
            yield Track(path=path, folder=path.parent.relative_to(top))
        elif entry.is_symlink() and _suffix(path) in AUDIO_SUFFIXES and not path.exists():
            yield Problem(
                path=path,
                message=f"{quoted(path)} is a link that leads nowhere.",
                remedy="Remove it, or bring back what it stands for.",
            )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name.

    Raises:
        OSError: if it cannot be listed, or what is in it cannot be reached.
    """
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    if not os.access(folder, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return entries


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def unreadable(path: Path, error: OSError | ValueError | StemsplitError) -> Problem:
    """Say that an input cannot be read, and why."""
    if isinstance(error, StemsplitError):
        return Problem(path=path, message=error.message, remedy=error.remedy)
    return Problem(
        path=path,
        message=f"{quoted(path)} cannot be read ({getattr(error, 'strerror', None) or error}).",
        remedy="Check the path and its permissions.",
    )
