"""Runs in the supervisor. The folders in a user's home that are stemsplit's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import platformdirs


def own_folder(kind: Literal["cache", "config", "state"]) -> Path | None:
    """Return the folder for files of a kind, whether it exists or not; None without a home folder.

    As on Linux for a user whom the system does not know, where HOME is not set either.
    """
    find = {
        "cache": platformdirs.user_cache_dir,
        "config": platformdirs.user_config_dir,
        "state": platformdirs.user_state_dir,
    }[kind]
    try:
        folder = Path(find("stemsplit", appauthor=False))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # as older versions of platformdirs tell it
