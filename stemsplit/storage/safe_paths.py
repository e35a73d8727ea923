"""Runs in both. Checks that untrusted paths stay inside their folder.

An output folder or a folder of music may come from somebody else. A path read there is checked
once, where it is read.
"""

from __future__ import annotations

import os

from stemsplit.core.text import quoted


class OutsideError(ValueError):
    """A path leads out of its folder."""


def require_inside(path: bytes) -> bytes:
    """Return a relative path whose parts stay inside its folder; links are not followed.

    Raises:
        OutsideError: if it leads out of the folder.
    """
    if not is_inside(path):
        raise OutsideError(f"{quoted(path)} is not a path inside the folder")
    return path


def is_inside(path: bytes) -> bool:
    """Return whether the parts of a relative path stay inside its folder; follows no links."""
    if not path or b"\0" in path or os.path.isabs(path) or os.path.splitdrive(path)[0]:
        return False
    return b".." not in _parts(path)


def is_name(name: bytes) -> bool:
    """Return whether `name` is a single part of a path that stays in its folder."""
    return is_inside(name) and name != b"." and len(_parts(name)) == 1


def _parts(path: bytes) -> list[bytes]:
    return path.replace(b"\\", b"/").split(b"/") if os.name == "nt" else path.split(b"/")


def leads_out(folder: bytes, path: bytes) -> bool:
    """Return whether a link in `path` below `folder` leads out of `folder`."""
    top = os.path.realpath(folder)
    target = os.path.realpath(os.path.join(folder, path))
    return target != top and not target.startswith(os.path.join(top, b""))
