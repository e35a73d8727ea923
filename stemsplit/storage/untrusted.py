"""Runs in both. Checks of what is read from folders that anybody may have made. Changes nothing.

An output folder, a folder of music or a settings file may come from a stranger. What is read there
is checked once, where it is read: a path has to stay inside its folder, and a file has to be a file
of a sane size, so that a device or a pipe in its place blocks nothing and fills no memory.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from pathlib import Path

_SEPARATORS = b"/\\" if os.name == "nt" else b"/"


class OutsideError(ValueError):
    """A path leads out of the folder that it should be in."""


def require_inside(path: bytes) -> bytes:
    """Return a relative path if it stays inside its folder, going by its parts alone.

    Raises:
        OutsideError: if it does not.
    """
    if not is_inside(path):
        raise OutsideError(f"{quoted(path)} is no path below the folder")
    return path


def is_inside(path: bytes) -> bool:
    """Return whether a relative path stays inside its folder, going by its parts alone."""
    if not path or b"\0" in path or os.path.isabs(path) or os.path.splitdrive(path)[0]:
        return False
    parts = path.replace(b"\\", b"/").split(b"/") if os.name == "nt" else path.split(b"/")
    return b".." not in parts


def is_name(name: bytes) -> bool:
    """Return whether `name` is one part of a path, and no way to another folder."""
    return is_inside(name) and name != b"." and not any(one in _SEPARATORS for one in name)


def leads_out(folder: bytes, path: bytes) -> bool:
    """Return whether a link on the way to `path` below `folder` leads out of `folder`."""
    top = os.path.realpath(folder)
    found = os.path.realpath(os.path.join(folder, path))
    return found != top and not found.startswith(os.path.join(top, b""))


def read_file(path: Path, most_bytes: int) -> bytes:
    """Read a regular file as a whole.

    Args:
        path: the file, or a link to one.
        most_bytes: its largest size.

    Raises:
        OSError: if it cannot be read, is larger, or is a device, a pipe or a folder.
    """
    # Without O_NONBLOCK a named pipe would wait for somebody who writes to it.
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, os.O_RDONLY | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes:,} bytes", str(path))
    return content
