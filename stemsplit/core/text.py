"""Runs in both. Formats names and numbers for users."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_REMOTE = re.compile(rb"\A/([a-z][a-z0-9+.-]+):/")


def printable(text: str | bytes | os.PathLike[str]) -> str:
    r"""Return a text or path without characters that a terminal could interpret.

    Control characters and bytes that are not UTF-8 become escapes such as `\x1b`. A path that
    stands for a URL is shown as the URL.
    """
    path = os.fspath(text)
    # Not os.fsencode: the file system's encoding may lack typographic quotation marks.
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    raw = _REMOTE.sub(rb"\1://", raw)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in raw.decode(errors="backslashreplace")
    )


def quoted(text: str | bytes | os.PathLike[str]) -> str:
    """Return a printable text or path in quotation marks."""
    return f"“{printable(text)}”"


def system_message(error: OSError) -> str:
    """Return the system's message of an error, or the class name if it has none."""
    return error.strerror or type(error).__name__


def clock_time(seconds: float) -> str:
    """Return `3:39` for 219 seconds and `1:02:05` for 3,725 seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(count: int, what: str, several: str = "") -> str:
    """Return `1 track` or `2 tracks`; `several` is the plural if it is irregular."""
    return f"{count} {what if count == 1 else several or what + 's'}"


def moment(seconds: float) -> str:
    """Return local time such as `Wed 2026-11-25 07:00` for seconds since 1970."""
    return time.strftime("%a %Y-%m-%d %H:%M", time.localtime(seconds))


def listed(words: Sequence[str]) -> str:
    """Return `one`, `one and two`, or `one, two and three`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def mebibytes(count: int) -> str:
    """Return `1,024 MiB` for 2**30 bytes."""
    return f"{count / 2**20:,.0f} MiB"
