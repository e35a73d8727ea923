"""Engines without a network, for states that the real one hardly reaches."""

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
    """Gives each of two stems half of everything: a separation that separates nothing."""

    model = "2stems"
    stems: tuple[str, ...] = ("vocals", "accompaniment")
    bins = 1024

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return one half everywhere."""
        return tuple(np.full_like(magnitudes, 0.5) for _ in self.stems)


class SlowEngine(HalfEngine):
    """Takes half a second for each segment."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Wait, and return one half everywhere."""
        time.sleep(0.5)
        return super().masks(magnitudes)


class DyingEngine(HalfEngine):
    """Ends its process in the midst of the work."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Be ended as by a fault in native code."""
        logging.getLogger("engine").error("something is wrong with %s", magnitudes.shape)
        os.kill(os.getpid(), signal.SIGSEGV)
        return super().masks(magnitudes)


class UnpicklableEngine(HalfEngine):
    """Raises what cannot be pickled."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Raise an error that holds a lambda."""
        error = RuntimeError(f"{magnitudes.shape} cannot be pickled")
        error.callback = lambda: None  # type: ignore[attr-defined]
        raise error


class NanEngine(HalfEngine):
    """Produces what is no number."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return NaN everywhere."""
        return tuple(np.full_like(magnitudes, np.nan) for _ in self.stems)


class OtherStemsEngine(HalfEngine):
    """Separates something else than was asked."""

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
    """Fail in a way that nobody foresaw."""
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
