"""Runs in the supervisor. Inputs as a person gives them to the audio files they mean.

Looks at names only: whether a file really is audio is for the child to find out.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUFFIXES = (
    ".aac .aif .aifc .aiff .alac .ape .au .caf .flac .m4a .m4b .mka .mp2 .mp3 .mp4 .mpc .oga .ogg "
    ".opus .rf64 .snd .tta .w64 .wav .wave .wma .wv"
)
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())
"""What counts as audio in a folder. A file that is named itself is taken whatever its name is."""


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


def scan(inputs: Iterable[Path], output: Path | None = None) -> Iterator[Track | Problem]:
    """Find the tracks of `inputs`, each file once, in the order given.

    A folder gives the audio files below it, sorted by path, hidden ones left out and links to
    folders not followed. A file gives itself.

    Args:
        inputs: files and folders.
        output: the folder for the stems; left out where it lies below an input.
    """
    seen: set[str] = set()
    for path in inputs:
        for one in _found(path, output):
            identity = os.path.realpath(one.path)
            if isinstance(one, Problem) or identity not in seen:
                seen.add(identity)
                yield one


def _found(path: Path, output: Path | None) -> Iterator[Track | Problem]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        message = f"{quoted(path)} does not exist."
        yield Problem(path=path, message=message, remedy="Check the path.")
    except OSError as error:
        yield _unreadable(path, error)
    else:
        if stat.S_ISDIR(mode):
            yield from _below(path, output)
        else:
            yield Track(path=path, folder=Path())


def _below(top: Path, output: Path | None) -> Iterator[Track | Problem]:
    skipped = None if output is None else os.path.realpath(output)
    refused: list[OSError] = []
    empty = True
    for folder, folders, files in os.walk(top, onerror=refused.append):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(folder, name)) != skipped
        )
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES:
                empty = False
                path = Path(folder, name)
                yield Track(path=path, folder=path.parent.relative_to(top))
    for error in refused:
        yield _unreadable(Path(error.filename or top), error)
    if empty and not refused:
        yield Problem(
            path=top,
            message=f"The folder {quoted(top)} holds no audio files.",
            remedy="Check the path, or name the files themselves if their endings are unusual.",
        )


def _unreadable(path: Path, error: OSError) -> Problem:
    return Problem(
        path=path,
        message=f"{quoted(path)} cannot be read ({error.strerror}).",
        remedy="Check the path and its permissions.",
    )
