"""Runs in both. What the pages of an Ogg file tell (RFC 3533, section 6).

A page is "OggS", version, flags, 20 further bytes, the number of lacing values, the lacing values,
whose sum is the body's size, and the body.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CAPTURE = b"OggS"
_HEADER_BYTES, _FLAGS_AT, _LACINGS_AT = 27, 5, 26
_BEGINS_STREAM, _ENDS_STREAM = 0x02, 0x04
_LARGEST_PAGE_BYTES = _HEADER_BYTES + 255 + 255 * 255


def ends_with_final_page(path: Path) -> bool:
    """Tell whether a file ends with a whole page that bears the end-of-stream flag."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LARGEST_PAGE_BYTES, 0))
        tail = file.read()
    page = tail[tail.rfind(_CAPTURE) :] if _CAPTURE in tail else b""
    if len(page) < _HEADER_BYTES or len(page) < _HEADER_BYTES + page[_LACINGS_AT]:
        return False
    lacing = page[_HEADER_BYTES : _HEADER_BYTES + page[_LACINGS_AT]]
    whole = len(page) >= _HEADER_BYTES + len(lacing) + sum(lacing)
    return whole and bool(page[_FLAGS_AT] & _ENDS_STREAM)


def has_second_stream(path: Path) -> bool:
    """Tell whether another stream begins after the first one: chaining (section 4).

    Each page leads to the next; where one is damaged, nobody knows what follows.
    """
    at, is_inside = 0, False
    with path.open("rb") as file:
        while True:
            file.seek(at)
            page = file.read(_HEADER_BYTES)
            if len(page) < _HEADER_BYTES or not page.startswith(_CAPTURE):
                return False
            begins = bool(page[_FLAGS_AT] & _BEGINS_STREAM)
            if begins and is_inside:
                return True
            is_inside = is_inside or not begins
            lacing = file.read(page[_LACINGS_AT])
            at += _HEADER_BYTES + len(lacing) + sum(lacing)
