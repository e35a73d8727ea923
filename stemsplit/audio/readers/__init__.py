"""Runs in both. What reads audio files: a protocol, and one module for each library that does it.

Readers give what is in a file as it is: at its own sample rate, with all of its channels. What a
file must have to be of use is the concern of `stemsplit.audio.decode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.job import AudioInfo


class NotReadableError(Exception):
    """A library does not know what to make of a file; says why in a few words."""


class Reader(Protocol):
    """One open audio file."""

    @property
    def info(self) -> AudioInfo:
        """What its header declares."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The name of each channel, as `stemsplit.audio.channels` knows them."""

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Read it to its end, once.

        Args:
            start: the first frame that is wanted.

        Yields:
            the number of a block's first frame, which may lie before `start`, and the block,
            `(frames, channels)` float32, a new array each time.
        """

    def damage(self) -> str:
        """Say what was damaged in what was read so far; empty if nothing was."""

    def lacks(self, frames_read: int) -> str:
        """Say, after the last block, what is missing at the end; empty if nothing is.

        Args:
            frames_read: how many frames there were from the beginning of the file to its end.
        """

    def close(self) -> None:
        """Close the file."""


def missing(name: str, frames: int, frames_read: int, sample_rate: int) -> str:
    """Say how much of a file is missing at its end."""
    whole = frames + frames_read
    return (
        f"{name} is cut off: {frames / sample_rate:.2f} s of {whole / sample_rate:.2f} s "
        f"({frames / whole:.0%}) are missing at its end; what is there was used."
    )
