"""Runs in the child. Reads what FFmpeg knows of an audio track before it is decoded."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from stemsplit.audio.channels import default_channels
from stemsplit.core.audio_info import AudioInfo

if TYPE_CHECKING:
    from io import RawIOBase
    from typing import BinaryIO

    from av.container import InputContainer

_TAG_OPTIONS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}  # noqa: PLR2004
)
"""Accept tags in any encoding; PyAV 19 does so by itself."""

HAVE_NO_TIMESTAMPS = frozenset({"mp3", "aac", "ac3", "eac3", "dts", "loas"})
"""Demuxers of streams of frames without timestamps; FFmpeg counts the frames."""

_HAVE_NO_DURATION = HAVE_NO_TIMESTAMPS | {"mpeg", "mpegts"}
"""Demuxers of containers that declare no duration; FFmpeg guesses it from the bit rate."""

_ITUNSMPB = re.compile(r"\s*(?:[0-9A-Fa-f]+\s+){3}(?P<frames>[0-9A-Fa-f]+)")
"""Apple's gapless tag: zero, samples before and after the music, samples of music; hexadecimal."""

_MATROSKA_DURATION = re.compile(r"(?P<h>\d+):(?P<m>\d+):(?P<s>\d+(?:\.\d+)?)")
"""Matroska's tag for the end of a track; the duration of the container is that of a whole film."""

_PCM_BITS = re.compile(r"pcm_[suf](?P<bits>\d+)")
_USUALLY_LOSSY = frozenset({"dca"})
"""Codecs whose lossless variant FFmpeg does not distinguish from the usual one: DTS."""

_BITS_BY_SAMPLE_FORMAT = {"u8": 8, "s16": 16, "s32": 24, "s64": 64}
"""Lossless codecs store up to 24 bits in the upper end of 32-bit words."""


def open_container(file: BinaryIO | RawIOBase, demuxer: str = "") -> InputContainer:
    """Open a file with FFmpeg.

    If it refers to other files, as a playlist does, these are not opened. `demuxer` is FFmpeg's
    name for the container; if it is empty, FFmpeg detects it.
    """
    options = {"protocol_whitelist": "none"}
    return av.open(file, "r", format=demuxer or None, options=options, **_TAG_OPTIONS)


def to_samples(ticks: int, time_base: Fraction | None, rate: int) -> int:
    """Return in samples a time in units of `time_base` seconds; None for units of one sample."""
    return round(ticks * (time_base or Fraction(1, rate)) * rate)


def is_mp4(container: InputContainer) -> bool:
    """Return whether a container is MP4, M4A or MOV."""
    return container.format.name.startswith("mov")


def channel_names(frame: av.AudioFrame) -> tuple[str, ...]:
    """Return the channels of a frame, in the usual order where the file does not name them."""
    names = tuple(channel.name for channel in frame.layout.channels)
    are_named = not {"NONE", "UNK", ""} & set(names)
    return names if are_named else default_channels(len(names))


def gapless_frames(container: InputContainer, stream: av.AudioStream) -> int | None:
    """Return the length in samples by Apple's tag `iTunSMPB`; None if there is no such tag."""
    tag = {**container.metadata, **stream.metadata}.get("iTunSMPB", "")
    found = _ITUNSMPB.match(tag)
    return (int(found["frames"], 16) or None) if found else None


def audio_info(
    container: InputContainer, stream: av.AudioStream, first: av.AudioFrame, frames: int | None
) -> AudioInfo:
    """Describe an audio track by its first frame and its declared length in samples, if any."""
    codec, sample_format = stream.codec_context, first.format.packed.name
    pcm = _PCM_BITS.match(codec.name)
    is_lossless = pcm is not None or (codec.codec.lossless and codec.name not in _USUALLY_LOSSY)
    bits = int(pcm["bits"]) if pcm else _BITS_BY_SAMPLE_FORMAT.get(sample_format, 32)
    return AudioInfo(
        format=container.format.name.partition(",")[0].upper(),
        subtype=codec.name.upper(),
        sample_rate=first.sample_rate,
        channels=len(first.layout.channels),
        frames=frames,
        bits=bits if is_lossless else None,
        floating=is_lossless and sample_format in {"flt", "dbl"},
    )


def declared_frames(
    container: InputContainer,
    stream: av.AudioStream,
    rate: int,
    *,
    gapless: int | None,
    start: int,
    delay: int,
) -> int | None:
    """Return the declared length in samples; approximate if the container counts other units.

    Args:
        container: the file.
        stream: its audio track.
        rate: sample rate in Hz.
        gapless: length by Apple's tag (`gapless_frames`).
        start: first sample by its timestamp.
        delay: the same if the audio starts late; 0 if it starts at once, or early because of
            padding.
    """
    if container.format.name in _HAVE_NO_DURATION:
        return None
    if gapless is not None:
        return gapless
    if stream.duration is not None:
        frames = to_samples(stream.duration, stream.time_base, rate)
        return frames if is_mp4(container) else frames - delay
    if found := _MATROSKA_DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = (float(found[group]) for group in "hms")
        return round((3600 * hours + 60 * minutes + seconds) * rate) - start
    if container.duration is not None and len(container.streams) == 1:
        return to_samples(container.duration, Fraction(1, av.time_base), rate) - delay
    return None
