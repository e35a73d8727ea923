"""Runs in the supervisor. Finds the tracks of an input: a file, folder, pattern or URL.

Whether a file that was found can be decoded is up to the child.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.core.errors import StemsplitError
from stemsplit.core.text import quoted
from stemsplit.library.exclude_patterns import matches_pattern
from stemsplit.library.file_filter import FileFilter, explicit_names, has_audio_extension
from stemsplit.library.folder_walk import FolderWalk, KnownStems, false_on_error
from stemsplit.library.tracks import Problem, Track, unreadable
from stemsplit.storage import remote_files
from stemsplit.storage.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stemsplit.library.exclude_patterns import Exclusions


class InputSearch:
    """A search of all inputs.

    Attributes:
        ignored: the files and folders that the search has ignored so far.
        unreadable: folders below an input that cannot be read, by path.
    """

    def __init__(self, output: Path | None, exclusions: Exclusions, *, with_stems: bool) -> None:
        """Search nothing yet; `output` is skipped below an input.

        `with_stems` is whether the stems in journals are accepted as tracks.
        """
        self._output = output
        self._filter = FileFilter(exclusions)
        self.ignored = self._filter.ignored
        self._stems: KnownStems | frozenset[Path] = frozenset() if with_stems else KnownStems()
        self.unreadable: dict[Path, Problem] = {}

    def search_listed(self, entry: Path, base: Path | None) -> Iterator[Track | Problem]:
        """Search an entry of a list, below `base` if it is relative.

        A file keeps its folder, and a folder its whole path.
        """
        path = entry if base is None else base / entry
        if path.is_dir():
            if not self._filter.excludes_input(path, _folders_in(path), is_folder=True):
                yield from _moved_below(self._search_folder(path), _kept_folder(entry / "x"))
        elif path not in self._stems:
            yield from self.search_input(path, _kept_folder(entry), is_listed=True)

    def search_input(
        self, path: Path, folder: Path = Path(), *, is_listed: bool = False
    ) -> Iterator[Track | Problem]:
        """Search an input.

        Args:
            path: the input.
            folder: the folder that the track of a file keeps.
            is_listed: whether the input is from a list, so that patterns match all of its folders.
        """
        above = _folders_in(path) if is_listed else _kept_folder(path)
        if is_remote(path):
            yield from self._search_remote(path, folder, above)
            return
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            yield from self._search_pattern(path)
            return
        except (OSError, ValueError) as error:
            yield unreadable(path, error)
            return
        if self._filter.excludes_input(path, above, is_folder=stat.S_ISDIR(mode)):
            return
        if stat.S_ISDIR(mode):
            yield from self._search_folder(path)
        elif stat.S_ISREG(mode):
            yield Track(path=path, folder=folder)
        else:
            yield Problem(
                path=path,
                message=f"{quoted(path)} is a pipe or a device.",
                remedy="Write the audio to a file first; its length must be known.",
            )

    def _search_pattern(self, path: Path) -> Iterator[Track | Problem]:
        """Search a pattern that the shell has not expanded."""
        pattern = os.fspath(path)
        if not glob.has_magic(pattern):
            yield Problem(
                path=path, message=f"{quoted(path)} does not exist.", remedy="Check the path."
            )
            return
        base = _base_of_pattern(path)
        if self._filter.excludes_input(base, _kept_folder(base), is_folder=True):
            return
        excluded_count, is_empty = self._filter.excluded_count, True
        for found in self._matches(path, base):
            is_empty = False
            yield found
        if is_empty and self._filter.excluded_count == excluded_count:
            yield Problem(
                path=path, message=f"Nothing matches {quoted(path)}.", remedy="Check the pattern."
            )

    def _matches(self, pattern: Path, base: Path) -> Iterator[Track | Problem]:
        parts = pattern.relative_to(base).parts
        explicit = explicit_names(parts)
        if "**" in parts:
            # `FolderWalk` visits each folder once, even if links form a cycle.
            found = self._search_folder(base, parts)
            yield from (track for track in found if isinstance(track, Track))
            return
        for match in map(Path, sorted(glob.glob(os.fspath(pattern)))):
            below = match.relative_to(base).parts
            is_folder = match.is_dir()
            if self._filter.ignores_below(below, base, explicit, is_folder=is_folder):
                continue
            if is_folder:
                yield from _moved_below(self._search_folder(match), match.relative_to(base))
            elif (
                match.is_file()
                and self._filter.is_selected(match, parts)
                and match not in self._stems
            ):
                yield Track(path=match, folder=match.parent.relative_to(base))

    def _search_remote(self, path: Path, folder: Path, above: Path) -> Iterator[Track | Problem]:
        """Search a URL: of a file, of a folder, or a pattern."""
        base = path
        try:
            status = remote_files.status(path)
            if status is not None:
                if not self._filter.excludes_input(path, above, is_folder=False):
                    yield Track(path=path, folder=folder, remote_status=status)
                return
            files = remote_files.listing(path)
            if not files and glob.has_magic(os.fspath(path)):
                base = _base_of_pattern(path)
                files = remote_files.listing(base) if is_remote(base) else {}
        except (OSError, StemsplitError) as error:
            yield unreadable(path, error)
            return
        excluded_count, is_empty = self._filter.excluded_count, True
        if self._filter.excludes_input(base, above, is_folder=True):
            return
        for file in self._select_remote(files, base, path.relative_to(base).parts):
            is_empty = False
            if file not in self._stems:
                folder = file.parent.relative_to(base)
                yield Track(path=file, folder=folder, remote_status=files[file])
        if is_empty and self._filter.excluded_count == excluded_count:
            yield Problem(
                path=path,
                message=f"There are no audio files at {quoted(path)}.",
                remedy="Check the URL, and the permission to list it.",
            )

    def _select_remote(
        self, files: Iterable[Path], base: Path, pattern: Sequence[str]
    ) -> Iterator[Path]:
        """Yield the audio files of a remote listing."""
        explicit = explicit_names(pattern)
        output = None if self._output == base else self._output
        for file in files:
            below = file.relative_to(base).parts
            if output is not None and file.is_relative_to(output):
                continue
            if pattern and not matches_pattern(below, pattern):
                continue
            if not self._filter.ignores_below(below, base, explicit) and self._filter.is_audio(
                file
            ):
                yield file

    def _search_folder(self, top: Path, pattern: Sequence[str] = ()) -> Iterator[Track | Problem]:
        """Search a folder for files whose paths below it match a pattern; empty for all files."""
        folders, explicit = FolderWalk(top, self._output), explicit_names(pattern)
        excluded_count, is_empty = self._filter.excluded_count, True
        for folder in folders:
            try:
                entries = _list_folder(folder)
            except OSError as error:
                is_empty = False
                if folder == top:
                    yield unreadable(folder, error)
                else:
                    self.unreadable[folder] = unreadable(folder, error)
                continue
            parts = folder.relative_to(top).parts
            entries = [
                entry
                for entry in entries
                if not self._filter.ignores(
                    (*parts, entry.name),
                    Path(entry.path),
                    explicit,
                    is_folder=false_on_error(entry.is_dir),
                )
            ]
            folders.add(folder, [entry for entry in entries if false_on_error(entry.is_dir)])
            for entry in entries:
                if pattern and not matches_pattern((*parts, entry.name), pattern):
                    continue
                found = self._check_entry(entry, folder / entry.name, top, pattern)
                if found is not None:
                    is_empty = False
                    if isinstance(found, Problem) or found.path not in self._stems:
                        yield found
        if is_empty and self._filter.excluded_count == excluded_count:
            yield Problem(
                path=top,
                message=f"The folder {quoted(top)} contains no audio files.",
                remedy="Check the path, or name files with unusual extensions as inputs.",
            )

    def _check_entry(
        self, entry: os.DirEntry[str], path: Path, top: Path, pattern: Sequence[str]
    ) -> Track | Problem | None:
        """Return the track or problem of a folder's entry that is not ignored, None for neither."""
        if false_on_error(entry.is_file) and self._filter.is_selected(path, pattern):
            return Track(path=path, folder=path.parent.relative_to(top))
        if entry.is_symlink() and has_audio_extension(path) and not path.exists():
            return Problem(
                path=path,
                message=f"{quoted(path)} is a broken link.",
                remedy="Remove it, or restore the file that it points to.",
            )
        return None


def _folders_in(path: Path) -> Path:
    """Return the folders that a path names, without its root and `..`."""
    folder = Path(os.path.normpath(path)).parent
    return Path(*(part for part in folder.parts if part not in {folder.anchor, ".."}))


def _kept_folder(path: Path) -> Path:
    """Return the folder of a relative path; `.` if it is absolute or leads out of its base."""
    folder = Path(os.path.normpath(path.parent))
    leads_out = folder.is_absolute() or ".." in folder.parts
    return Path() if leads_out else folder


def _moved_below(found: Iterable[Track | Problem], folder: Path) -> Iterator[Track | Problem]:
    for track in found:
        if isinstance(track, Track):
            yield Track(path=track.path, folder=folder / track.folder)
        else:
            yield track


def _base_of_pattern(path: Path) -> Path:
    """Return the leading components of a path that are not patterns."""
    parts = path.parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:first])


def _list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name.

    Raises:
        OSError: if the folder cannot be listed, or its entries cannot be accessed.
    """
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    if not os.access(folder, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return entries
