"""Runs in both. Paths as libsndfile takes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sound_path(path: Path) -> str | bytes:
    """Give the bytes that the system has, which need not be UTF-8; on Windows text."""
    return str(path) if os.name == "nt" else os.fsencode(path)
