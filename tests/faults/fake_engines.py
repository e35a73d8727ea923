"""Engines without a network, for states that the real one hardly reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class HalfEngine:
    """Gives each of two stems half of everything: a separation that separates nothing."""

    model = "2stems"
    stems: tuple[str, ...] = ("vocals", "accompaniment")
    bins = 1024
    needed_memory_bytes = 0

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return one half everywhere."""
        return tuple(np.full_like(magnitudes, 0.5) for _ in self.stems)


class NanEngine(HalfEngine):
    """Produces what is no number."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return NaN everywhere."""
        return tuple(np.full_like(magnitudes, np.nan) for _ in self.stems)


class OtherStemsEngine(HalfEngine):
    """Separates something else than was asked."""

    stems = ("drums", "rest")


def half(_model: str, _folder: Path, _threads: int) -> HalfEngine:
    """Load `HalfEngine`."""
    return HalfEngine()


def nan(_model: str, _folder: Path, _threads: int) -> NanEngine:
    """Load `NanEngine`."""
    return NanEngine()


def other_stems(_model: str, _folder: Path, _threads: int) -> OtherStemsEngine:
    """Load `OtherStemsEngine`."""
    return OtherStemsEngine()


def raises(_model: str, _folder: Path, _threads: int) -> HalfEngine:
    """Fail in a way that nobody foresaw."""
    raise ZeroDivisionError("surprise")
