"""Runs in both. Reads small files from untrusted folders.

Only a regular file of limited size is read: a device or a pipe in its place must neither block the
reader nor fill its memory.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

_Content = TypeVar("_Content")


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file, or of one that a link leads to.

    Raises:
        OSError: if it cannot be read, is larger than `max_bytes`, or is not a regular file.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for a writer.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes:,} bytes", str(path))
    return content


def read_json(path: Path, content_type: type[_Content], max_bytes: int) -> _Content:
    """Return the content of a JSON file as an instance of `content_type`.

    Raises:
        OSError: as `read_file`.
        msgspec.DecodeError: if the file has other content.
    """
    try:
        return msgspec.json.decode(read_file(path, max_bytes), type=content_type)
    except (RecursionError, UnicodeError) as error:
        raise msgspec.DecodeError(str(error)) from error
