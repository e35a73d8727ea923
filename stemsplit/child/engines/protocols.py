"""Runs in the child. Protocols that engines and their loaders implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A loaded model that computes one mask per stem from the magnitudes of one segment."""

    @property
    def model(self) -> str:
        """Name of the model in the catalogue."""

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, in the order of the masks."""

    @property
    def bins(self) -> int:
        """Number of frequency bins from 0 Hz up that the network processes (Spleeter's `F`)."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network on one segment.

        Args:
            magnitudes: `(512, bins, 2)` float32, absolute values of the STFT.

        Returns:
            for each of `stems` a new `(512, bins, 2)` float32 array of values in 0..1. In every
            bin, the masks sum to 1.
        """


class EngineLoader(Protocol):
    """A function that loads an engine. `Settings.engine` names it as `module:function`."""

    def __call__(self, model: str, folder: Path, threads: int, *, lean: bool) -> Engine:
        """Load a model.

        Args:
            model: name in the catalogue.
            folder: verified folder of its weights.
            threads: number of threads per operation, at least 1.
            lean: whether to use less memory at the cost of speed.

        Raises:
            EngineError: if the model cannot be loaded.
        """


class WholeFileEngine(Protocol):
    """A loaded model that separates a whole file at once."""

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """Separate a file.

        Args:
            mix: `(frames, 2)` float32 at 44.1 kHz.
            stems: names of the wanted stems.

        Returns:
            for each of `stems` an array of the shape and dtype of `mix`.
        """


class WholeFileLoader(Protocol):
    """A function that loads a whole-file engine."""

    def __call__(self, model: str, folder: Path, threads: int) -> WholeFileEngine:
        """Load a model; the arguments and errors are those of `EngineLoader`."""
