"""Runs in both. The header and the measurements of an audio file, and the size of PCM samples."""

from __future__ import annotations

from typing import Literal

import msgspec

PcmDepth = Literal["16", "24", "32f"]
"""Bit depth of the stems, once `source` is resolved."""

MAX_FRAMES_PER_BYTE = 1000
"""Upper bound of the frames that a codec packs into one byte, except for digital silence."""

_BYTES_PER_SAMPLE = {"16": 2, "24": 3, "32f": 4}


def pcm_bytes(frames: int, channels: int, bit_depth: PcmDepth) -> int:
    """Return the size of uncompressed samples in bytes, without a header."""
    return frames * channels * _BYTES_PER_SAMPLE[bit_depth]


class AudioInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The properties that the header of an audio file declares.

    Attributes:
        format: container, as named by the library that reads it (`WAV`, `OGG`, `MOV`, ...).
        subtype: sample encoding, likewise (`PCM_16`, `VORBIS`, `AAC`, ...).
        sample_rate: in Hz.
        channels: 1 or more.
        bits: bits of an integer sample, or 32 or 64 for floating point; None for a lossy encoding.
        floating: whether samples are floating point.
        frames: samples per channel; a truncated file contains fewer. None if the header declares
            no length or an impossible one.
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
        """Duration in seconds; None if unknown."""
        return None if self.frames is None else self.frames / self.sample_rate


class Measurement(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Measurements of an audio file that was read to its end.

    Attributes:
        info: contents of the header.
        channels: FFmpeg's name of each channel; `FC` alone is mono.
        frames: samples per channel that the file contains.
        size_bytes: size of the file.
        used_bits: bits that suffice to represent every sample; None for a lossy encoding and for
            samples that need floating point.
        peak: largest absolute sample; 1.0 is full scale.
        true_peak: largest absolute value between samples, at 192 kHz (ITU-R BS.1770-5, annex 2);
            None if the file is too short.
        loudness_lufs: integrated loudness (ITU-R BS.1770-5, EBU R 128); None for silence and for
            files that are too short.
        loudness_range_lu: loudness range (EBU Tech 3342); None likewise.
        warning: what is missing or damaged; empty for an intact file.
        notes: other facts for the user, such as further audio tracks.
    """

    info: AudioInfo
    channels: tuple[str, ...]
    frames: int
    size_bytes: int
    used_bits: int | None
    peak: float
    true_peak: float | None
    loudness_lufs: float | None
    loudness_range_lu: float | None
    warning: str
    notes: tuple[str, ...] = ()


class NotMeasured(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why a file could not be read."""

    message: str
    remedy: str
