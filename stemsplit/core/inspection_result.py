"""Runs in both. What can be found out about an audio file by reading it to its end."""

from __future__ import annotations

import msgspec

from stemsplit.core.audio_info import AudioInfo


class Measurement(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was found in a file that was read to its end.

    Attributes:
        info: what its header declares.
        channels: the name of each, as FFmpeg has them; `FC` alone is mono.
        frames: samples a channel that there are.
        size_bytes: of the file.
        used_bits: the bits that suffice for every sample; None for a lossy encoding, and where
            samples are floating point in earnest.
        peak: the largest absolute sample, 1.0 being full scale.
        true_peak: the largest absolute value between samples, at 192 kHz (ITU-R BS.1770-5,
            annex 2); None if the file is too short to tell.
        loudness_lufs: integrated loudness (ITU-R BS.1770-5, EBU R 128); None for silence, or if
            the file is too short to tell.
        loudness_range_lu: from soft to loud (EBU Tech 3342); None likewise.
        warning: what is missing or damaged; empty if nothing is.
        notes: what else there is to know, such as other audio tracks.
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
