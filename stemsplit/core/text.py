"""Runs in both. Names and numbers as a person reads them."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_REMOTE = re.compile(rb"\A/([a-z][a-z0-9+.-]+):/")


def printable(text: str | bytes | os.PathLike[str]) -> str:
    r"""Give a text or path in characters that can be shown and sent anywhere.

    Control characters, which could steer a terminal, and bytes that are not UTF-8 become `\x1b`
    and the like. A path that stands for an address is shown as that (`stemsplit.storage.remote`).
    """
    path = os.fspath(text)
    # Not os.fsencode: the file system's encoding need not have typographic quotation marks.
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    raw = _REMOTE.sub(rb"\1://", raw)
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in raw.decode(errors="backslashreplace")
    )


def quoted(text: str | bytes | os.PathLike[str]) -> str:
    """Give a text or path, printable, in quotation marks."""
    return f"“{printable(text)}”"


def sentence_of(error: OSError) -> str:
    """Return what the system says of an error, or its kind where it says nothing."""
    return error.strerror or type(error).__name__


def clock_time(seconds: float) -> str:
    """Give `3:39` for 219 seconds and `1:02:05` for 3,725."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(count: int, what: str, several: str = "") -> str:
    """Give `1 track` and `2 tracks`, or `several` for those that have another plural."""
    return f"{count} {what if count == 1 else several or what + 's'}"


def moment(seconds: float) -> str:
    """Give `Wed 2026-11-25 07:00` for a time in seconds since 1970, on the clock on the wall."""
    return time.strftime("%a %Y-%m-%d %H:%M", time.localtime(seconds))


def listed(words: Sequence[str]) -> str:
    """Return `one`, `one and two`, or `one, two and three`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def mebibytes(count: int) -> str:
    """Give `1,024 MiB` for 2**30 bytes."""
    return f"{count / 2**20:,.0f} MiB"
