"""Runs in both. Files that samples are written to, one class for each library that writes them.

A sink takes what fits its format and does nothing to it; levels are the concern of
`stemsplit.audio.encode`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import soundfile

from stemsplit.audio.channels import PLACES
from stemsplit.audio.sample_blocks import BLOCK_FRAMES, in_pieces
from stemsplit.audio.sndfile_paths import sound_path
from stemsplit.core.audio_info import pcm_bytes
from stemsplit.core.formats import LOSSY
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import av
    from numpy.typing import NDArray

    from stemsplit.audio.write_format import WriteFormat
    from stemsplit.core.settings import StemFormat

_SUBTYPES: Final = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}

_RIFF_LIMIT_BYTES = 2**32 - 2**20
"""RIFF counts bytes in 32 bits; a mebibyte is left for the headers."""

_VORBIS_QUALITIES = {
    64_000: 0.0,
    80_000: 0.1,
    96_000: 0.2,
    112_000: 0.3,
    128_000: 0.4,
    160_000: 0.5,
    192_000: 0.6,
    224_000: 0.7,
    256_000: 0.8,
    320_000: 0.9,
    500_000: 1.0,
}
"""Quality of libvorbis by nominal bit rate, for 44.1 kHz stereo (its `setup_44.h`)."""

_VORBIS_FRAMES = 4096
"""libsndfile puts a whole block of a Vorbis stream on the stack; a large one overflows it."""

_LOSSY_BY_LIBAV: Final[dict[StemFormat, tuple[str, str]]] = {
    "mp3": ("libmp3lame", "mp3"),
    "opus": ("libopus", "ogg"),
    "m4a": ("aac", "ipod"),
}
"""FFmpeg's encoder and container for each."""

_SAMPLE_FORMATS: Final = {
    "libmp3lame": "fltp",
    "libopus": "flt",
    "aac": "fltp",
    "pcm_f32le": "flt",
}
"""What encoders of floating point are fed; left to itself, that of Opus would cut to 16 bits."""

_PCM_CODECS: Final = {"16": "pcm_s16le", "24": "pcm_s24le", "32f": "pcm_f32le"}


class SampleWriter(Protocol):
    """An open file."""

    def write(self, samples: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """Append `(frames, channels)`: int32 left-aligned for PCM, else float32."""

    def close(self) -> None:
        """Write what is left, and the header."""


def container_of(form: WriteFormat, frames: int, channels: int) -> str:
    """Choose libsndfile's name of the container: `RF64` for a WAV past 4 GiB (EBU Tech 3306)."""
    if form.format != "wav":
        return form.format.upper()
    too_long = pcm_bytes(frames, channels, form.bit_depth) > _RIFF_LIMIT_BYTES
    return "RF64" if too_long else "WAV"


def open_writer(
    path: Path, form: WriteFormat, *, expected_frames: int, channels: Sequence[str]
) -> SampleWriter:
    """Open a file for writing; what is there is overwritten.

    libsndfile cannot say which channel is which, so more than two go to FFmpeg, if they have names.
    """
    by_name = len(channels) > STEREO and set(channels) <= PLACES
    if by_name or form.format in _LOSSY_BY_LIBAV:
        return LibavWriter(path, form, channels)
    container = container_of(form, expected_frames, len(channels))
    return SndfileWriter(path, form, container, len(channels))


class SndfileWriter:
    """WAV, FLAC and Vorbis, through libsndfile."""

    def __init__(self, path: Path, form: WriteFormat, container: str, channels: int) -> None:
        """Create the file."""
        self._piece = BLOCK_FRAMES
        options: dict[str, object] = {"subtype": _SUBTYPES[form.bit_depth]}
        if form.format == "ogg":
            quality = np.interp(
                form.bit_rate or LOSSY["ogg"].bit_rate,
                list(_VORBIS_QUALITIES),
                list(_VORBIS_QUALITIES.values()),
            )
            options = {"subtype": "VORBIS", "compression_level": 1.0 - float(quality)}
            self._piece = _VORBIS_FRAMES
        self._file = soundfile.SoundFile(
            sound_path(path),
            "w",
            samplerate=form.sample_rate,
            channels=channels,
            format=container,
            **options,
        )

    def write(self, samples: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """See `SampleWriter.write`."""
        for piece in in_pieces(samples, self._piece):
            self._file.write(piece)

    def close(self) -> None:
        """See `SampleWriter.close`."""
        self._file.close()


class LibavWriter:
    """MP3, Opus and AAC, and more than two channels in WAV and FLAC, through FFmpeg's libraries.

    The lossy ones are gapless: the file says how many samples the encoder has put before and
    behind.
    """

    def __init__(self, path: Path, form: WriteFormat, channels: Sequence[str]) -> None:
        """Create the file."""
        import av

        from stemsplit.audio.av_frames import FrameMaker

        self._maker = FrameMaker(form.sample_rate, channels)
        self._is_short = form.bits == 16  # noqa: PLR2004 - bits of an FFmpeg format of its own
        codec, container, options = _ways(form)
        self._container = av.open(os.fspath(path), "w", format=container, options=options)
        stream = self._container.add_stream(codec, rate=form.sample_rate, layout=self._maker.layout)
        if not isinstance(stream, av.AudioStream):
            raise TypeError(codec)
        stream.format = _SAMPLE_FORMATS.get(codec, "s16" if self._is_short else "s32")
        if form.format in LOSSY:
            stream.bit_rate = form.bit_rate or LOSSY[form.format].bit_rate
            if len(channels) == 1:
                stream.bit_rate = min(stream.bit_rate, LOSSY[form.format].most_bit_rate // 2)
        stream.codec_context.thread_count = 1
        self._stream: av.AudioStream | None = stream

    def write(self, samples: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """See `SampleWriter.write`."""
        if not len(samples) or self._stream is None:
            return
        whole: NDArray[Any] = samples
        if self._is_short:
            whole = (whole >> 16).astype(np.int16)
        frame = self._maker.frame(whole)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """See `SampleWriter.close`."""
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            self._container.mux(stream.encode(None))
        finally:
            self._container.close()


def _ways(form: WriteFormat) -> tuple[str, str, dict[str, str]]:
    """Give FFmpeg's names of encoder and container, and the container's options."""
    if form.format == "wav":
        return _PCM_CODECS[form.bit_depth], "wav", {"rf64": "auto"}
    if form.format == "flac":
        return "flac", "flac", {}
    codec, container = _LOSSY_BY_LIBAV[form.format]
    if form.format == "m4a":
        # MP4's edit list counts in a clock of its own, by default too coarse to end at a sample.
        return codec, container, {"movie_timescale": str(form.sample_rate)}
    return codec, container, {}
