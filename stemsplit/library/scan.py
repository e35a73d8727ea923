"""Runs in the supervisor. Inputs as a person gives them to the audio files they mean.

Goes by names; only in folders, and only where a name's ending says nothing, by first bytes. Whether
a file really is audio is for the child to find out.
"""

from __future__ import annotations

import glob
import os
import stat
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.errors import UsageError
from stemsplit.library.probe import sounds
from stemsplit.library.state import STATE_FOLDER
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

_AUDIO = (
    ".aac .aif .aifc .aiff .alac .ape .au .caf .flac .m4a .m4b .mka .mp2 .mp3 .mp4 .mpc .oga .ogg "
    ".opus .rf64 .snd .tta .w64 .wav .wave .wma .wv"
)
AUDIO_SUFFIXES = frozenset(_AUDIO.split())
"""What counts as audio in a folder. A file that is named itself is taken whatever its name is."""

_OTHER = (
    ".accurip .asd .avi .bak .bmp .cue .db .doc .docx .exe .gif .gz .htm .html .ini .jpeg .jpg "
    ".json .lnk .log .lrc .m3u .m3u8 .md5 .mid .midi .mkv .mov .nfo .opf .part .pdf .pls .png "
    ".py .rar .rtf .sfv .sh .sqlite3 .tif .tiff .tmp .toml .torrent .txt .url .webm .webp .xml "
    ".xspf .yaml .yml .zip"
)
OTHER_SUFFIXES = frozenset(_OTHER.split())
"""Endings that are believed: what bears one is left out without a look into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One input file.

    Attributes:
        path: the file.
        folder: its folder below the input that it was found in; `.` for a file named itself.
    """

    path: Path
    folder: Path


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
        duplicates: how many files were met again.
    """

    tracks: list[Track] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    duplicates: int = 0


def scan(
    inputs: Iterable[Path], output: Path | None = None, *, listed: Iterable[Path] = ()
) -> Found:
    """Find the tracks of `inputs`, each file once, in the order given.

    A folder gives the audio files below it, sorted by path, hidden ones and folders of stems left
    out. Links to folders are followed, each folder being searched once, after those that are no
    links. A file gives itself. A pattern such as `live/**/*.flac` that no file bears as its name
    gives what matches it, each file with its folder below `live`.

    Args:
        inputs: files, folders and patterns.
        output: the folder for the stems; left out where it lies below an input.
        listed: files and folders from a list; a relative one keeps its folder.
    """
    found = Found()
    seen: set[str] = set()
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
        *(one for path in inputs for one in _named(path, Path(), output)),
        *(one for path in listed for one in _named(path, _folder_kept(path), output)),
    ):
        if isinstance(one, Problem):
            found.problems.append(one)
            continue
        real = identity(one.path)
        if real in seen:
            found.duplicates += 1
        else:
            seen.add(real)
            found.tracks.append(one)
    return found


def read_list(stream: BinaryIO, what: str) -> list[Path]:
    """Read paths from a list, one a line, or each ended by a NUL where there is one.

    Lines may end as on Windows. Empty ones are left out; nothing else is taken as a comment.

    Args:
        stream: what to read.
        what: its name, for the error.

    Raises:
        UsageError: if there is no path in it.
    """
    text = stream.read()
    lines = (
        text.split(b"\0") if b"\0" in text else [line.rstrip(b"\r") for line in text.split(b"\n")]
    )
    paths = [Path(os.fsdecode(line)) for line in lines if line]
    if not paths:
        raise UsageError(f"{what} names no files.", "Write one path a line.")
    return paths


def _folder_kept(path: Path) -> Path:
    folder = Path(os.path.normpath(path.parent))
    leads_out = folder.is_absolute() or ".." in folder.parts
    return Path() if leads_out else folder


def _named(path: Path, folder: Path, output: Path | None) -> Iterator[Track | Problem]:
    """Follow one input."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield from _matching(path, output)
    except (OSError, ValueError) as error:
        yield _unreadable(path, error)
    else:
        if stat.S_ISDIR(mode):
            yield from _below(path, output)
        elif stat.S_ISREG(mode):
            yield Track(path=path, folder=folder)
        else:
            yield Problem(
                path=path,
                message=f"{quoted(path)} is a pipe or a device.",
                remedy="Write the sound into a file first: its length must be known.",
            )


def _matching(path: Path, output: Path | None) -> Iterator[Track | Problem]:
    """Follow a pattern, which the shell has not expanded."""
    pattern = os.fspath(path)
    if not glob.has_magic(pattern):
        yield Problem(
            path=path, message=f"{quoted(path)} does not exist.", remedy="Check the path."
        )
        return
    base = Path(*_until_magic(path.parts))
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    if not matches:
        yield Problem(
            path=path, message=f"Nothing matches {quoted(path)}.", remedy="Check the pattern."
        )
    for match in matches:
        if match.is_file() and (_is_named_itself(path) or _is_audio(match)):
            yield Track(path=match, folder=match.parent.relative_to(base))
        elif match.is_dir() and "**" not in path.parts:
            for one in _below(match, output):
                if isinstance(one, Track):
                    yield Track(path=one.path, folder=match.relative_to(base) / one.folder)
                else:
                    yield one


def _until_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _is_named_itself(pattern: Path) -> bool:
    """Tell whether a pattern says what kind of file it means, as `*.dat` does and `*` does not."""
    return pattern.suffix not in {"", ".*"}


def _below(top: Path, output: Path | None) -> Iterator[Track | Problem]:
    folders = _Folders(top, output)
    empty = True
    for folder in folders:
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield _unreadable(folder, error)
            empty = False
            continue
        if folder != top and any(entry.name == STATE_FOLDER for entry in entries):
            continue  # the output of another batch
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        folders.add(folder, [entry for entry in visible if _tells(entry.is_dir)])
        for entry in visible:
            path = folder / entry.name
            if _tells(entry.is_file) and _is_audio(path):
                empty = False
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


def _unreadable(path: Path, error: OSError | ValueError) -> Problem:
    return Problem(
        path=path,
        message=f"{quoted(path)} cannot be read ({getattr(error, 'strerror', None) or error}).",
        remedy="Check the path and its permissions.",
    )
