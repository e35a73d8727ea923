"""Runs in the supervisor. Builds the file names of stems from a template.

A template is a path below the output folder with placeholders in braces. Names keep the characters
and the Unicode form of their source, except for characters that some system cannot store or would
interpret (docs/libraries.md). The reserved characters and names are those of Windows, because
libraries travel on disks that are formatted for it. [Naming files, Microsoft]
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
from stemsplit.library.extensions import STRIPPED_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stemsplit.core.probe import Tags
    from stemsplit.library.tracks import Track

DEFAULT_NAME = "{relpath}/{track}/{stem}.{ext}"
DEFAULT_NAME_CONVERTED = "{relpath}/{track}.{ext}"

MAX_NAME_BYTES = 255
"""Maximum length of one component of a path on nearly every file system."""

_SYNONYMS = {"filename": "track", "instrument": "stem", "codec": "ext"}
"""Spleeter's placeholders, and the equivalent ones."""

_TAG_FIELDS = frozenset(
    "artist albumartist album title tracknumber discnumber year genre".split()  # noqa: SIM905
)
_STEM_FIELDS = frozenset({"stem", "ext"})
_UNCUT_FIELDS = _STEM_FIELDS | {"source_ext", "id"}
_PLACEHOLDERS = (
    {"relpath", "track", "foldername", "model"} | _UNCUT_FIELDS | _TAG_FIELDS | _SYNONYMS.keys()
)

_UNSAFE = dict.fromkeys(map(ord, '<>:"/\\|?*'), "_")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Literal text, or the name of a placeholder."""

    text: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A template of file names; see `parse`."""

    text: str
    _parts: tuple[tuple[_Piece, ...], ...]

    @classmethod
    def parse(cls, text: str, *, for_stems: bool = True) -> Template:
        """Parse a template.

        Args:
            text: the template.
            for_stems: whether several stems are written for each track, so that their names must
                differ.

        Raises:
            UsageError: if the template is absolute, contains `..` or an unknown placeholder, lacks
                an extension, or would give all stems the same name.
        """
        if text.startswith("/") or PureWindowsPath(text).drive:
            raise UsageError(
                f"The name template “{text}” is an absolute path.",
                "Make it relative to the output folder.",
            )
        parts = tuple(_pieces(part, text) for part in text.split("/") if part not in {"", "."})
        template = cls(text, parts)
        if any(part == (_Piece(text=".."),) for part in parts):
            raise UsageError(f"The name template “{text}” contains “..”.", "Remove it.")
        if for_stems and not template.uses({"stem"}):
            raise UsageError(
                f"The name template “{text}” is the same for every stem.", "Add {stem} to it."
            )
        if parts[-1][-1:] != (_Piece(field="ext"),):
            raise UsageError(f"The name template “{text}” has no extension.", "End it with .{ext}.")
        return template

    def uses(self, fields: frozenset[str] | set[str]) -> bool:
        """Return whether the template has any of these placeholders."""
        return any(piece.field in fields for part in self._parts for piece in part)

    def files(
        self, track: Track, tags: Tags, stems: Sequence[str], *, model: str, ext: str
    ) -> dict[str, Path]:
        """Return the path of each stem below the output folder.

        Args:
            track: the source.
            tags: of the source; used only if the template has a placeholder for a tag.
            stems: names of the stems.
            model: name of the model that separates them.
            ext: extension of the files, without a dot.
        """
        values = _file_values(track) | {"model": model, "ext": ext}
        if self.uses({"id"}):
            values["id"] = hashlib.sha256(os.fsencode(os.path.abspath(track.path))).hexdigest()[:8]
        if self.uses(_TAG_FIELDS):
            values |= _tag_values(tags, track.path.stem)
        return {stem: self._path(values | {"stem": stem}) for stem in stems}

    def _path(self, values: Mapping[str, str]) -> Path:
        names: list[str] = []
        for part in self._parts:
            if part == (_Piece(field="relpath"),):
                folders = Path(values["relpath"]).parts
                names += [safe_name(_fill(part, {"relpath": folder})) for folder in folders]
            else:
                names.append(safe_name(_fill(part, values)))
        return Path(*names)


def _pieces(part: str, template: str) -> tuple[_Piece, ...]:
    try:
        parsed = list(string.Formatter().parse(part))
    except ValueError as error:
        raise UsageError(
            f"Invalid name template “{template}”: {error}.", "Double each literal brace."
        ) from error
    pieces: list[_Piece] = []
    for text, field, spec, conversion in parsed:
        pieces += [_Piece(text=text)] if text else []
        if field is None:
            continue
        if field in _PLACEHOLDERS and (spec or conversion):
            raise UsageError(
                f"The name template “{template}” has a format or conversion for {{{field}}}.",
                f"Use {{{field}}} alone; track numbers have two digits already.",
            )
        if field not in _PLACEHOLDERS:
            raise UsageError(
                f"The name template “{template}” has an unknown placeholder: {{{field}}}.",
                _suggestion(field) or f"Use one of: {', '.join(sorted(_PLACEHOLDERS))}.",
            )
        pieces.append(_Piece(field=_SYNONYMS.get(field, field)))
    if len(pieces) > 1 and _Piece(field="relpath") in pieces:
        raise UsageError(
            f"In the name template “{template}”, {{relpath}} is only part of a name.",
            "It stands for folders; separate it with slashes.",
        )
    return tuple(pieces)


def _suggestion(field: str) -> str:
    common = {"date": "year", "disc": "discnumber", "name": "track", "model_name": "model"}
    close = difflib.get_close_matches(field, _PLACEHOLDERS, n=1)
    suggestions = [common[field]] if field in common else close
    return f"Did you mean {{{suggestions[0]}}}?" if suggestions else ""


def _file_values(track: Track) -> dict[str, str]:
    path, folder = track.path, track.path.parent.name
    if folder in {"", ".."}:
        folder = Path(os.path.abspath(path)).parent.name
    return {
        "relpath": os.fspath(track.folder),
        "track": path.stem if path.suffix.lower() in STRIPPED_EXTENSIONS else path.name,
        "foldername": folder or "root",
        "source_ext": path.suffix.removeprefix("."),
    }


def _tag_values(tags: Tags, name: str) -> dict[str, str]:
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


def _fill(part: tuple[_Piece, ...], values: Mapping[str, str]) -> str:
    """Return a component of the path, with its longest values cut to fit `MAX_NAME_BYTES`."""
    filled = {piece.field: values[piece.field] for piece in part if piece.field}
    while True:
        name = "".join(piece.text or filled[piece.field] for piece in part)
        excess = len(os.fsencode(name)) - MAX_NAME_BYTES
        cuttable = [field for field in filled if field not in _UNCUT_FIELDS and filled[field]]
        if excess <= 0 or not cuttable:
            return name
        longest = max(cuttable, key=lambda field: len(os.fsencode(filled[field])))
        filled[longest] = _cut(filled[longest], len(os.fsencode(filled[longest])) - excess)


def _cut(text: str, length: int) -> str:
    """Return the longest proper prefix of `text` that fits into `length` bytes."""
    kept = text[:-1]
    while kept and len(os.fsencode(kept)) > length:
        kept = kept[:-1]
    return kept


@functools.lru_cache(maxsize=4096)  # thousands of tracks share folders and stems
def safe_name(name: str) -> str:
    """Return a component of a path that every system can store and none interprets.

    Replaces control characters, characters that Windows reserves, a leading dot, and trailing dots
    and spaces by underscores. Appends an underscore to the name of a Windows device.
    """
    kept = "".join(
        "_" if unicodedata.category(character) in {"Cc", "Zl", "Zp"} else character
        for character in name.translate(_UNSAFE)
    )
    if kept.startswith("."):
        kept = "_" + kept[1:]
    bare = kept.rstrip(". ")
    kept = bare + "_" * (len(kept) - len(bare))
    if _is_reserved(kept):
        head, dot, tail = kept.partition(".")
        if len(os.fsencode(kept)) == MAX_NAME_BYTES:
            tail = tail[1:]
        kept = f"{head}_{dot}{tail}"
    return kept or "_"


def _is_reserved(name: str) -> bool:
    """Return whether the name is that of a Windows device."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    return PureWindowsPath(name).is_reserved()


def path_key(path: Path) -> str:
    """Return a key that is equal for paths that some file system does not distinguish.

    Most file systems fold case; Apple's also normalise Unicode.
    """
    return unicodedata.normalize("NFC", os.fspath(path)).casefold()
