"""Runs in the child. What runs the network: a protocol, and one file for each way to do it.

`spleeter.py` is the one file of the project that imports TensorFlow's package or Spleeter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class Engine(Protocol):
    """A loaded model that turns one segment's magnitudes into one mask a stem."""

    @property
    def model(self) -> str:
        """The model's name in the catalogue."""

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems that it separates, in the order of the masks."""

    @property
    def bins(self) -> int:
        """How many frequency bins F, from 0 Hz up, it looks at; above them the masks are zero."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Run the network on one segment.

        Args:
            magnitudes: `(512, bins, 2)` float32, absolute values of the STFT, zero or more.

        Returns:
            for each of `stems` a new array of `(512, bins, 2)` float32 in 0..1. They sum to 1 in
            every bin.
        """


class EngineLoader(Protocol):
    """What an engine's file offers as `load`."""

    def __call__(self, model: str, folder: Path, threads: int, *, lean: bool) -> Engine:
        """Load `model` from the verified `folder`; raises `EngineError`.

        With `lean`, it takes less memory and may take longer; the masks are the same.
        """


class WholeFileEngine(Protocol):
    """A loaded model that separates a file at once."""

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """Separate a file.

        Args:
            mix: `(frames, 2)` float32 at 44.1 kHz.
            stems: which of the model's stems are wanted.

        Returns:
            one array like `mix` for each of `stems`.
        """


class WholeFileLoader(Protocol):
    """What an engine's file offers as `load_whole_file`, if it can do that."""

    def __call__(self, model: str, folder: Path, threads: int) -> WholeFileEngine:
        """Load `model` from the verified `folder`; raises `EngineError`."""
