"""Engines without a neural network, for states that the real engines rarely reach."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class HalfEngine:
    """Gives half of the mix to each of two stems, so that nothing is separated."""

    model = "2stems"
    stems: tuple[str, ...] = ("vocals", "accompaniment")
    bins = 1024

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return one half everywhere."""
        return tuple(np.full_like(magnitudes, 0.5) for _ in self.stems)


class SlowEngine(HalfEngine):
    """Needs half a second for each segment."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Sleep, and return one half everywhere."""
        time.sleep(0.5)
        return super().masks(magnitudes)


class DyingEngine(HalfEngine):
    """Crashes its process during the separation."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Crash as native code does."""
        logging.getLogger("engine").error("something is wrong with %s", magnitudes.shape)
        os.kill(os.getpid(), signal.SIGSEGV)
        return super().masks(magnitudes)


class UnpicklableEngine(HalfEngine):
    """Raises an error that cannot be pickled."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Raise an error that holds a lambda."""
        error = RuntimeError(f"{magnitudes.shape} cannot be pickled")
        error.callback = lambda: None  # type: ignore[attr-defined]
        raise error


class NanEngine(HalfEngine):
    """Returns masks of NaN."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return NaN everywhere."""
        return tuple(np.full_like(magnitudes, np.nan) for _ in self.stems)


class OtherStemsEngine(HalfEngine):
    """Returns other stems than the model has."""

    stems = ("drums", "rest")


def half(_model: str, _folder: Path, _threads: int, *, lean: bool) -> HalfEngine:
    """Load `HalfEngine`."""
    del lean
    return HalfEngine()


def nan(_model: str, _folder: Path, _threads: int, *, lean: bool) -> NanEngine:
    """Load `NanEngine`."""
    del lean
    return NanEngine()


def other_stems(_model: str, _folder: Path, _threads: int, *, lean: bool) -> OtherStemsEngine:
    """Load `OtherStemsEngine`."""
    del lean
    return OtherStemsEngine()


def raises(_model: str, _folder: Path, _threads: int, *, lean: bool) -> HalfEngine:
    """Raise an unexpected error."""
    del lean
    raise ZeroDivisionError("surprise")


def slow(_model: str, _folder: Path, _threads: int, *, lean: bool) -> SlowEngine:
    """Load `SlowEngine`."""
    del lean
    return SlowEngine()


def dying(_model: str, _folder: Path, _threads: int, *, lean: bool) -> DyingEngine:
    """Load `DyingEngine`."""
    del lean
    return DyingEngine()


def unpicklable(_model: str, _folder: Path, _threads: int, *, lean: bool) -> UnpicklableEngine:
    """Load `UnpicklableEngine`."""
    del lean
    return UnpicklableEngine()
