"""Runs in both. Converts the texts of tags to values: numbers, dates, lists, clean texts. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FIELD_OF_KEY = {
    "title": "title",
    "artist": "artists",
    "album_artist": "albumartists",
    "album": "album",
    "track": "track",
    "disc": "disc",
    "date": "date",
    "year": "date",
    "genre": "genres",
    "composer": "composers",
    "comment": "comments",
}
"""Field of `stemsplit.audio.tagging.fields` by key of FFmpeg's metadata and of text chunks."""

_LIST_FIELDS = frozenset({"artists", "albumartists", "genres", "composers"})

_NUMBER = re.compile(r"\s*(?P<number>[+-]?\d{1,9})?\s*(?:/\s*(?P<total>\d{1,9})\s*)?")
_DATE = re.compile(r"\D*(\d{4})(?:\D(\d{1,2}))?(?:\D(\d{1,2}))?")
_NO_DATE = (None, None, None)


def clean_value(value: Any) -> Any:  # noqa: ANN401 - of any field
    """Return clean texts; any other value unchanged."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list) and isinstance(value[0], str):
        return _split_texts(value)
    return value


def parse_number(text: str | None, total: int | None) -> tuple[str | None, int | None] | None:
    """Return number and total from a text such as `3`, `3/12`, `03` or `A1`; None if neither."""
    text = clean_text(text or "")
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text, total or None
    number = int(match["number"] or 0)
    total = total or int(match["total"] or 0) or None
    return (str(number) if number else None, total) if number or total else None


def clean_text(text: str) -> str:
    """Return a text without NUL bytes and lone surrogates, which not every file type can store."""
    valid = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return valid.rstrip("\0").replace("\0", " ") if valid.strip("\0 \t\r\n") else ""


def _split_texts(texts: Iterable[str]) -> list[str]:
    """Split texts at NUL bytes, and return the distinct parts that are not empty."""
    parts = (clean_text(part) for text in texts for part in text.split("\0"))
    return [*dict.fromkeys(filter(None, parts))]


def values_of_texts(texts_of: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return values by field from texts by key, as in FFmpeg's metadata and in text chunks."""
    values: dict[str, Any] = {}
    for key, raw in texts_of.items():
        name = _FIELD_OF_KEY.get(key)
        texts = _split_texts(raw)
        if name is None or name in values or not texts:
            continue
        if name in _LIST_FIELDS:
            values[name] = texts
        elif name in {"track", "disc"}:
            values[name] = parse_number(texts[0], None)
        elif name == "date":
            match = _DATE.match(texts[0])
            year, month, day = (
                (int(part or 0) or None for part in match.groups()) if match else _NO_DATE
            )
            values[name] = (year, month, day) if year else None
        else:
            values[name] = "\n".join(texts) if name == "comments" else texts[0]
    return {name: value for name, value in values.items() if value}
