"""Runs in both. What the header of an audio file declares, and sizes of samples."""

from __future__ import annotations

from typing import Literal

import msgspec

PcmDepth = Literal["16", "24", "32f"]
"""What a bit depth comes to once the source is known."""


MOST_FRAMES_A_BYTE = 1000
"""More than any codec packs into a byte, digital silence apart."""


_BYTES_A_SAMPLE = {"16": 2, "24": 3, "32f": 4}


def pcm_bytes(frames: int, channels: int, bit_depth: PcmDepth) -> int:
    """Size of uncompressed samples in bytes, without a header."""
    return frames * channels * _BYTES_A_SAMPLE[bit_depth]


class AudioInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the header of an audio file declares.

    Attributes:
        format: container, in the words of the library that reads it (`WAV`, `OGG`, `MOV`, ...).
        subtype: sample encoding, likewise (`PCM_16`, `VORBIS`, `AAC`, ...).
        sample_rate: in Hz.
        channels: 1 or more.
        bits: of a sample of integers, or 32 or 64 of floating point; None for a lossy encoding,
            which has none.
        floating: whether samples are floating point.
        frames: samples a channel; a file that is cut off may hold fewer. None where the header
            does not say, or says what cannot be.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int | None
    bits: int | None = None
    floating: bool = False

    @property
    def seconds(self) -> float | None:
        """Duration, None where it is not known."""
        return None if self.frames is None else self.frames / self.sample_rate
