"""Runs in both. What reads audio files: a protocol, and one module for each library that does it.

Readers give what is in a sound file as it is: at its own sample rate, with all of its channels.
`joined` puts the sound files together that a file consists of. What a file must have to be of use
is the concern of `stemsplit.audio.decode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.audio.data_loss import Silence
    from stemsplit.core.audio_info import AudioInfo


class NotReadableError(Exception):
    """A library does not know what to make of a file; says why in a few words."""


class Reader(Protocol):
    """One open sound file."""

    @property
    def info(self) -> AudioInfo:
        """What its header declares."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The name of each channel, as `stemsplit.audio.channels` knows them."""

    @property
    def gave_up(self) -> bool:
        """Whether its decoder stopped at damage, so that more may follow."""

    @property
    def silences(self) -> Sequence[Silence]:
        """Where silence stands in the place of what was lost, in what was read so far."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about the file that a person may want to read."""

    @property
    def late_seconds(self) -> float:
        """When the sound begins by the file's clock; that of a film may begin after its picture."""

    @property
    def tolerated_seconds(self) -> float:
        """By how much the declared length may be wrong although nothing is missing."""

    def blocks(self, start: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Read it to its end, once.

        Args:
            start: the first frame that is wanted.

        Yields:
            the number of a block's first frame, which may lie before `start`, and the block,
            `(frames, channels)` float32, a new array each time.
        """

    def close(self) -> None:
        """Close the file."""
