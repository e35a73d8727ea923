"""Runs in the supervisor. Templates to the names of stems: safe on every system, never outside.

A template is a path below the output folder with placeholders in braces. Names keep the characters
of the source, in the Unicode form and the bytes that they have, except for what some system cannot
store or would take for something else (docs/libraries.md). Reserved characters and names are those
of Windows, because libraries travel on disks that are formatted for it. [Naming files, Microsoft]
(https://learn.microsoft.com/windows/win32/fileio/naming-a-file)
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import ntpath
import os
import string
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from stemsplit.core.errors import UsageError
from stemsplit.library.extensions import CUT_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stemsplit.core.probe import Tags
    from stemsplit.library.scan import Track

DEFAULT_NAME = "{relpath}/{track}/{stem}.{ext}"
DEFAULT_NAME_CONVERTED = "{relpath}/{track}.{ext}"

LONGEST_NAME_BYTES = 255
"""Of one name in a path, on nearly every file system."""

_SYNONYMS = {"filename": "track", "instrument": "stem", "codec": "ext"}
"""Spleeter's placeholders, and ours."""

_OF_TAGS = frozenset(
    "artist albumartist album title tracknumber discnumber year genre".split()  # noqa: SIM905
)
_OF_THE_STEM = frozenset({"stem", "ext"})
_NEVER_CUT = _OF_THE_STEM | {"source_ext", "id"}
_PLACEHOLDERS = (
    {"relpath", "track", "foldername", "model"} | _NEVER_CUT | _OF_TAGS | _SYNONYMS.keys()
)

_UNSAFE = dict.fromkeys(map(ord, '<>:"/\\|?*'), "_")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Text as it stands, or the name of a placeholder."""

    text: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """Where the stems of a track go; made by `parse`."""

    text: str
    _parts: tuple[tuple[_Piece, ...], ...]

    @classmethod
    def parse(cls, text: str, *, for_stems: bool = True) -> Template:
        """Read a template; where it is not `for_stems`, one file comes of each track.

        Raises:
            UsageError: if it names an unknown placeholder, leads out of the output folder, or would
                give all stems one name.
        """
        if text.startswith("/") or PureWindowsPath(text).drive:
            raise UsageError(
                f"The name “{text}” begins at the root.", "Names lie below the folder of -o."
            )
        parts = tuple(_pieces(part, text) for part in text.split("/") if part not in {"", "."})
        template = cls(text, parts)
        if any(part == (_Piece(text=".."),) for part in parts):
            raise UsageError(f"The name “{text}” leads upwards.", "Leave “..” out.")
        if for_stems and not template.uses({"stem"}):
            raise UsageError(
                f"The name “{text}” would be the same for every stem.", "Put {stem} into it."
            )
        if parts[-1][-1:] != (_Piece(field="ext"),):
            raise UsageError(f"The name “{text}” has no ending.", "Let it end with .{ext}.")
        return template

    def uses(self, fields: frozenset[str] | set[str]) -> bool:
        """Tell whether any of these placeholders is in it."""
        return any(piece.field in fields for part in self._parts for piece in part)

    @property
    def uses_tags(self) -> bool:
        """Whether the tags of a track must be known."""
        return self.uses(_OF_TAGS)

    def files(
        self, track: Track, tags: Tags, stems: Sequence[str], *, model: str, ext: str
    ) -> dict[str, Path]:
        """Give the path of each stem below the output folder.

        Args:
            track: the source.
            tags: of the source; only looked at where `uses_tags`.
            stems: to be named.
            model: that separates them.
            ext: the ending, without a dot.
        """
        values = _of_file(track) | {"model": model, "ext": ext}
        if self.uses({"id"}):
            values["id"] = hashlib.sha256(os.fsencode(os.path.abspath(track.path))).hexdigest()[:8]
        if self.uses_tags:
            values |= _of_tags(tags, track.path.stem)
        return {stem: self._path(values | {"stem": stem}) for stem in stems}

    def _path(self, values: Mapping[str, str]) -> Path:
        names: list[str] = []
        each: list[Mapping[str, str]]
        for part in self._parts:
            if part == (_Piece(field="relpath"),):
                each = [{"relpath": name} for name in Path(values["relpath"]).parts]
            else:
                each = [values]
            names += [safe_name(_fitting(part, filled)) for filled in each]
        return Path(*names)


def _pieces(part: str, template: str) -> tuple[_Piece, ...]:
    try:
        parsed = list(string.Formatter().parse(part))
    except ValueError as error:
        raise UsageError(
            f"The name “{template}” cannot be read: {error}.",
            "Write a brace that is meant as such twice.",
        ) from error
    pieces: list[_Piece] = []
    for text, field, spec, conversion in parsed:
        pieces += [_Piece(text=text)] if text else []
        if field is None:
            continue
        if field in _PLACEHOLDERS and (spec or conversion):
            raise UsageError(
                f"The name “{template}” asks for {{{field}}} in a special form.",
                f"Write {{{field}}} alone; numbers of tracks have two digits already.",
            )
        if field not in _PLACEHOLDERS:
            raise UsageError(
                f"The name “{template}” has the placeholder {{{field}}}, which is unknown.",
                _suggestion(field) or f"There are: {', '.join(sorted(_PLACEHOLDERS))}.",
            )
        pieces.append(_Piece(field=_SYNONYMS.get(field, field)))
    if len(pieces) > 1 and _Piece(field="relpath") in pieces:
        raise UsageError(
            f"In the name “{template}”, {{relpath}} is joined with something else.",
            "It stands for folders: put a slash around it.",
        )
    return tuple(pieces)


def _suggestion(field: str) -> str:
    usual = {"date": "year", "disc": "discnumber", "name": "track", "model_name": "model"}
    near = difflib.get_close_matches(field, _PLACEHOLDERS, n=1)
    near = [usual[field]] if field in usual else near
    return f"Did you mean {{{near[0]}}}?" if near else ""


def _of_file(track: Track) -> dict[str, str]:
    path, folder = track.path, track.path.parent.name
    if folder in {"", ".."}:
        folder = Path(os.path.abspath(path)).parent.name
    return {
        "relpath": os.fspath(track.folder),
        "track": path.stem if path.suffix.lower() in CUT_SUFFIXES else path.name,
        "foldername": folder or "root",
        "source_ext": path.suffix.removeprefix("."),
    }


def _of_tags(tags: Tags, name: str) -> dict[str, str]:
    return {
        "artist": tags.artist or "Unknown artist",
        "albumartist": tags.albumartist or tags.artist or "Unknown artist",
        "album": tags.album or "Unknown album",
        "title": tags.title or name,
        "tracknumber": f"{tags.track or 0:02}",
        "discnumber": f"{tags.disc or 0}",
        "year": f"{tags.year or 0:04}",
        "genre": tags.genre or "Unknown genre",
    }


def _fitting(part: tuple[_Piece, ...], values: Mapping[str, str]) -> str:
    """Fill a part in, its longest values cut so that it is no longer than a name may be."""
    own = {piece.field: values[piece.field] for piece in part if piece.field}
    while True:
        name = "".join(piece.text or own[piece.field] for piece in part)
        excess = len(os.fsencode(name)) - LONGEST_NAME_BYTES
        cuttable = [field for field in own if field not in _NEVER_CUT and own[field]]
        if excess <= 0 or not cuttable:
            return name
        longest = max(cuttable, key=lambda field: len(os.fsencode(own[field])))
        own[longest] = _cut(own[longest], len(os.fsencode(own[longest])) - excess)


def _cut(text: str, length: int) -> str:
    """Keep as many whole characters as fit into so many bytes; never all of them."""
    kept = text[:-1]
    while kept and len(os.fsencode(kept)) > length:
        kept = kept[:-1]
    return kept


@functools.lru_cache(maxsize=4096)  # thousands of tracks share folders and stems
def safe_name(name: str) -> str:
    """Make one name of a path storable on every system, and mean nothing but a name.

    Control characters and those that Windows reserves become underscores, and so do a leading dot,
    trailing dots and spaces. A device's name gets an underscore after it.
    """
    kept = "".join("_" if _is_control(one) else one for one in name.translate(_UNSAFE))
    if kept.startswith("."):
        kept = "_" + kept[1:]
    bare = kept.rstrip(". ")
    kept = bare + "_" * (len(kept) - len(bare))
    if _is_reserved(kept):
        head, dot, tail = kept.partition(".")
        if len(os.fsencode(kept)) == LONGEST_NAME_BYTES:
            tail = tail[1:]
        kept = f"{head}_{dot}{tail}"
    return kept or "_"


def _is_reserved(name: str) -> bool:
    """Tell whether Windows has a device of that name."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    return PureWindowsPath(name).is_reserved()


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Zl", "Zp"}


def same_place(path: Path) -> str:
    """Give what is equal for paths that some file system takes for the same one.

    Most fold case, and Apple's normalise Unicode.
    """
    return unicodedata.normalize("NFC", os.fspath(path)).casefold()
