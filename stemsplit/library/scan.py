"""Runs in the supervisor. Inputs as a person gives them to the audio files they mean.

Goes by names; only in folders, and only where a name's ending says nothing, by first bytes. Whether
a file really is audio is for the child to find out.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit import remote
from stemsplit.errors import StemsplitError
from stemsplit.library.endings import AUDIO_SUFFIXES, OTHER_SUFFIXES
from stemsplit.library.probe import sounds
from stemsplit.library.reader import JournalReader
from stemsplit.library.state import State
from stemsplit.remote import is_remote
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from stemsplit.remote import Status


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


@dataclass(slots=True)
class Found:
    """What inputs lead to.

    Attributes:
        tracks: each file once, in the order of the inputs.
        problems: inputs that lead to none.
        duplicates: how many files were met more than once.
    """

    tracks: list[Track] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0


def scan(
    inputs: Iterable[Path],
    output: Path | None = None,
    *,
    listed: Iterable[Path] = (),
    with_stems: bool = False,
) -> Found:
    """Find the tracks of `inputs`, each file once, in the order given.

    A folder gives the audio files below it, those that lie in it first, hidden ones and stems left
    out: what lies in `output`, and what the journal of any output folder knows. Links to folders
    are followed, each folder being searched once, after those that are no links. A file gives
    itself. A pattern such as `live/**/*.flac` that no file bears as its name
    gives what matches it, each file with its folder below `live`.

    Args:
        inputs: files, folders and patterns.
        output: the folder for the stems; left out where it lies below an input.
        listed: files and folders from a list; a relative one keeps its folder.
        with_stems: whether stems that a journal knows are taken like everything else.
    """
    found = Found()
    seen: dict[str, int] = {}
    again: set[str] = set()
    stems = _Stems(none=with_stems)
    real_folders: dict[str, str] = {}

    def identity(path: Path) -> str:
        """Give the real path, asking for that of each folder once."""
        if path.is_symlink():
            return os.path.realpath(path)
        folder, name = os.path.split(path)
        if folder not in real_folders:
            real_folders[folder] = os.path.realpath(folder)
        return os.path.join(real_folders[folder], name)

    for one in (
        *(one for path in inputs for one in _named(path, Path(), output, stems)),
        *(one for path in listed for one in _listed(path, output, stems)),
    ):
        if isinstance(one, Problem):
            found.problems.append(one)
            continue
        real = identity(one.path)
        if real not in seen:
            seen[real] = len(found.tracks)
            found.tracks.append(one)
            continue
        again.add(real)
        # A link that is made later must not take the place of the file itself.
        if found.tracks[seen[real]].path.is_symlink() and not one.path.is_symlink():
            found.tracks[seen[real]] = one
    found.duplicates = len(again)
    return found


def _folder_kept(path: Path) -> Path:
    folder = Path(os.path.normpath(path.parent))
    leads_out = folder.is_absolute() or ".." in folder.parts
    return Path() if leads_out else folder


def _listed(path: Path, output: Path | None, stems: _Stems) -> Iterator[Track | Problem]:
    """Follow one entry of a list; a folder keeps its own path as a file does its folder's."""
    kept = _folder_kept(path)
    if path.is_dir():
        yield from _moved_below(_below(path, output, stems), _folder_kept(path / "x"))
    elif not stems.hold(path):
        yield from _named(path, kept, output, stems)


def _moved_below(found: Iterable[Track | Problem], folder: Path) -> Iterator[Track | Problem]:
    for one in found:
        if isinstance(one, Track):
            yield Track(path=one.path, folder=folder / one.folder)
        else:
            yield one


def _named(
    path: Path, folder: Path, output: Path | None, stems: _Stems
) -> Iterator[Track | Problem]:
    """Follow one input."""
    if is_remote(path):
        yield from _remote(path, folder, output, stems)
        return
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield from _matching(path, output, stems)
    except (OSError, ValueError) as error:
        yield unreadable(path, error)
    else:
        if stat.S_ISDIR(mode):
            yield from _below(path, output, stems)
        elif stat.S_ISREG(mode):
            yield Track(path=path, folder=folder)
        else:
            yield Problem(
                path=path,
                message=f"{quoted(path)} is a pipe or a device.",
                remedy="Write the sound into a file first: its length must be known.",
            )


def _matching(path: Path, output: Path | None, stems: _Stems) -> Iterator[Track | Problem]:
    """Follow a pattern, which the shell has not expanded."""
    pattern = os.fspath(path)
    if not glob.has_magic(pattern):
        yield Problem(
            path=path, message=f"{quoted(path)} does not exist.", remedy="Check the path."
        )
        return
    base = Path(*_until_magic(path.parts))
    empty = True
    for one in _matches(path, base, output, stems):
        empty = False
        yield one
    if empty:
        yield Problem(
            path=path, message=f"Nothing matches {quoted(path)}.", remedy="Check the pattern."
        )


def _remote(
    path: Path, folder: Path, output: Path | None, stems: _Stems
) -> Iterator[Track | Problem]:
    """Follow one input that is an address: of a file, of what is below it, or of a pattern."""
    base = path
    try:
        there = remote.status(path)
        if there is not None:
            yield Track(path=path, folder=folder, there=there)
            return
        files = remote.listing(path)
        if not files and glob.has_magic(os.fspath(path)):
            base = Path(*_until_magic(path.parts))
            files = remote.listing(base) if is_remote(base) else {}
    except (OSError, StemsplitError) as error:
        yield unreadable(path, error)
        return
    parts, empty = path.relative_to(base).parts, True
    for file, status in files.items():
        below = file.relative_to(base)
        if output is not None and output != base and file.is_relative_to(output):
            continue
        hidden = any(part.startswith(".") for part in below.parts)
        if (
            hidden
            or _suffix(file) not in AUDIO_SUFFIXES
            or not (not parts or _fits(below.parts, parts))
        ):
            continue
        empty = False
        if not stems.hold(file):
            yield Track(path=file, folder=below.parent, there=status)
    if empty:
        yield Problem(
            path=path,
            message=f"There are no audio files at {quoted(path)}.",
            remedy="Check the address, and that it may be listed.",
        )


def _matches(
    pattern: Path, base: Path, output: Path | None, stems: _Stems
) -> Iterator[Track | Problem]:
    if "**" in pattern.parts:
        # By our own search, which does not go in circles.
        parts = pattern.relative_to(base).parts
        for one in _below(base, output, stems, wants=lambda file: _wants(file, pattern)):
            if isinstance(one, Track) and _fits(one.path.relative_to(base).parts, parts):
                yield one
        return
    for match in map(Path, sorted(glob.glob(os.fspath(pattern)))):
        if match.is_dir():
            below = _below(match, output, stems)
            yield from _moved_below(below, match.relative_to(base))
        elif match.is_file() and _wants(match, pattern) and not stems.hold(match):
            yield Track(path=match, folder=match.parent.relative_to(base))


def _wants(file: Path, pattern: Path) -> bool:
    """Tell whether a match is meant: `*.dat` says what kind it means, `*` does not."""
    return pattern.suffix not in {"", ".*"} or _is_audio(file)


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a path fits a pattern, part by part; `**` stands for any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        rest = pattern[1:]
        return not rest or _fits(path, rest) or (bool(path) and _fits(path[1:], pattern))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _until_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _below(
    top: Path,
    output: Path | None,
    stems: _Stems,
    *,
    wants: Callable[[Path], bool] | None = None,
) -> Iterator[Track | Problem]:
    wants = wants or _is_audio
    folders = _Folders(top, output)
    empty = True
    for folder in folders:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield unreadable(folder, error)
            empty = False
            continue
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        folders.add(folder, [entry for entry in visible if _tells(entry.is_dir)])
        for entry in visible:
            path = folder / entry.name
            if _tells(entry.is_file) and wants(path):
                empty = False
                if stems.hold(path):
                    continue
                yield Track(path=path, folder=folder.relative_to(top))
            elif entry.is_symlink() and _suffix(path) in AUDIO_SUFFIXES and not path.exists():
                empty = False
                yield Problem(
                    path=path,
                    message=f"{quoted(path)} is a link that leads nowhere.",
                    remedy="Remove it, or bring back what it stands for.",
                )
    if empty:
        yield Problem(
            path=top,
            message=f"The folder {quoted(top)} holds no audio files.",
            remedy="Check the path, or name the files themselves if their endings are unusual.",
        )


class _Stems:
    """The stems that the journals of output folders know, each folder looked into once."""

    def __init__(self, *, none: bool) -> None:
        self._none = none
        self._known: dict[Path, tuple[tuple[Path, frozenset[bytes]], ...]] = {}

    def hold(self, path: Path) -> bool:
        """Tell whether a file is a stem, by the journal of any folder above it."""
        if self._none:
            return False
        absolute = path.absolute()
        return any(
            os.fsencode(os.path.relpath(absolute, output)) in stems
            for output, stems in self._above(absolute.parent)
        )

    def _above(self, folder: Path) -> tuple[tuple[Path, frozenset[bytes]], ...]:
        if folder not in self._known:
            above = () if folder == folder.parent else self._above(folder.parent)
            own = self._of(folder)
            self._known[folder] = (*above, (folder, own)) if own else above
        return self._known[folder]

    @staticmethod
    def _of(folder: Path) -> frozenset[bytes]:
        try:
            journal = JournalReader.read(State(folder).journal, folder)
        except StemsplitError:  # of a newer stemsplit, or damaged
            return frozenset()
        if journal is None:
            return frozenset()
        with journal:
            return journal.stems()


class _Folders:
    """The folders below one, each once, those behind links last; grows while it is gone through."""

    def __init__(self, top: Path, output: Path | None) -> None:
        self._next = deque([top])
        self._links: deque[Path] = deque()
        self._seen: set[tuple[int, int]] = set()
        if output is not None and top.absolute() != output:
            self._leave_out(output)

    def _leave_out(self, folder: Path) -> None:
        try:
            status = folder.stat()
        except OSError:
            return
        self._seen.add((status.st_dev, status.st_ino))

    def add(self, parent: Path, entries: list[os.DirEntry[str]]) -> None:
        """Take in what lies in `parent`, to come next, in order."""
        paths = [(parent / entry.name, entry.is_symlink()) for entry in entries]
        self._links.extend(path for path, is_link in paths if is_link)
        self._next.extendleft(reversed([path for path, is_link in paths if not is_link]))

    def __iter__(self) -> Iterator[Path]:
        while self._next or self._links:
            folder = self._next.popleft() if self._next else self._links.popleft()
            try:
                status = folder.stat()
            except OSError:
                yield folder  # whoever lists it meets the same error, and tells
                continue
            if (status.st_dev, status.st_ino) not in self._seen:
                self._seen.add((status.st_dev, status.st_ino))
                yield folder


def _tells(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link that leads to itself
        return False


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _is_audio(path: Path) -> bool:
    suffix = _suffix(path)
    return suffix in AUDIO_SUFFIXES or (suffix not in OTHER_SUFFIXES and sounds(path))


def unreadable(path: Path, error: OSError | ValueError | StemsplitError) -> Problem:
    """Say that an input cannot be read, and why."""
    if isinstance(error, StemsplitError):
        return Problem(path=path, message=error.message, remedy=error.remedy)
    return Problem(
        path=path,
        message=f"{quoted(path)} cannot be read ({getattr(error, 'strerror', None) or error}).",
        remedy="Check the path and its permissions.",
    )
