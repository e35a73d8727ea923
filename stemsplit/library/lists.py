"""Runs in the supervisor. Lists of files, as other programs write them, to paths."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from stemsplit.errors import UsageError
from stemsplit.remote import path_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_LEAST_BYTES_A_PATH = 3
"""Of a list whose paths end with NUL, on average: a text in UTF-16 without a mark is none."""


def read_list(stream: BinaryIO, what: str) -> list[Path]:
    """Read paths from a list, one a line, or each ended by a NUL where there is one.

    Lines may end as on Windows. Empty ones are left out; nothing else is taken as a comment.

    Args:
        stream: what to read.
        what: its name, for the error.

    Raises:
        UsageError: if there is no path in it.
    """
    text = _as_utf_8(stream.read(), what)
    lines = (
        text.split(b"\0") if b"\0" in text else [line.rstrip(b"\r") for line in text.split(b"\n")]
    )
    paths = [path_of(os.fsdecode(line)) for line in lines if line]
    if not paths:
        raise UsageError(f"{what} names no files.", "Write one path a line.")
    return paths


def _as_utf_8(text: bytes, what: str) -> bytes:
    """Give a list without a byte order mark; what Windows writes in UTF-16 is converted."""
    if text.startswith(codecs.BOM_UTF8):
        return text.removeprefix(codecs.BOM_UTF8)
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return text.decode("utf-16").encode()
        except UnicodeError:
            pass
    elif b"\0\0" not in text and text.count(b"\0") <= len(text) / _LEAST_BYTES_A_PATH:
        return text
    raise UsageError(f"{what} is no list of files.", "Write one path a line, in UTF-8.")
