"""Runs in the child. The protocol that every reader of sound files implements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.audio.data_loss import Gap
    from stemsplit.core.audio_info import AudioInfo


class NotReadableError(Exception):
    """A library cannot read a file. The message is a short reason, not a sentence."""


class Reader(Protocol):
    """An open sound file."""

    @property
    def info(self) -> AudioInfo:
        """What its header declares."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The name of each channel, as in `stemsplit.audio.channels`."""

    @property
    def has_failed(self) -> bool:
        """Whether its decoder stopped at damage, after which there may be more audio."""

    @property
    def silences(self) -> Sequence[Gap]:
        """The silence in place of lost audio, in the blocks read so far."""

    @property
    def notes(self) -> Sequence[str]:
        """Notes about the file for the user, one sentence each."""

    @property
    def delay_seconds(self) -> float:
        """When the audio starts on the file's clock; in a film, it may start after the picture."""

    @property
    def tolerance_seconds(self) -> float:
        """How much the declared length may be wrong although nothing is missing."""

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Read the file to its end, once.

        Args:
            start: the first frame requested.

        Yields:
            the number of a block's first frame, which may be less than `start`, and the block,
            `(frames, channels)` float32, a new array each time.
        """

    def close(self) -> None:
        """Close the file."""
