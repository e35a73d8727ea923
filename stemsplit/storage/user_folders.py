"""Runs in the supervisor. Finds stemsplit's folders in the user's home."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import platformdirs


def user_folder(purpose: Literal["cache", "config", "state"]) -> Path | None:
    """Return stemsplit's folder for a purpose, which may not exist.

    None without a home folder, as on Linux for an unknown user if HOME is not set.
    """
    find = {
        "cache": platformdirs.user_cache_dir,
        "config": platformdirs.user_config_dir,
        "state": platformdirs.user_state_dir,
    }[purpose]
    try:
        folder = Path(find("stemsplit", appauthor=False))
    except RuntimeError:
        return None
    # Older versions of platformdirs return a relative path instead of raising.
    return folder if folder.is_absolute() else None
