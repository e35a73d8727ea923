"""Runs in the child. Writes samples to audio files: one class per library.

The samples must already have the format of the file; `stemsplit.audio.stem_writer` converts them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import soundfile

from stemsplit.audio.channels import KNOWN_CHANNELS
from stemsplit.audio.readers.sndfile import sndfile_path
from stemsplit.audio.sample_blocks import BLOCK_FRAMES, split_block
from stemsplit.core.audio_info import pcm_bytes
from stemsplit.core.format_rates import LOSSY
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
"""RIFF stores sizes in 32 bits; one mebibyte is reserved for headers."""

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
"""Quality of libvorbis by nominal bit rate, for 44.1 kHz stereo (libvorbis, `setup_44.h`)."""

_VORBIS_BLOCK_FRAMES = 4096
"""libsndfile copies each block of a Vorbis stream to the stack, which a large block overflows."""

_LIBAV_ENCODERS: Final[dict[StemFormat, tuple[str, str]]] = {
    "mp3": ("libmp3lame", "mp3"),
    "opus": ("libopus", "ogg"),
    "m4a": ("aac", "ipod"),
}
"""FFmpeg's encoder and container for each lossy format that FFmpeg writes."""

_SAMPLE_FORMATS: Final = {"libmp3lame": "fltp", "libopus": "flt", "aac": "fltp", "pcm_f32le": "flt"}
"""FFmpeg's sample format for encoders of floating point; libopus would default to 16 bits."""

_PCM_CODECS: Final = {"16": "pcm_s16le", "24": "pcm_s24le", "32f": "pcm_f32le"}


class SampleWriter(Protocol):
    """An audio file that is open for writing."""

    def write(self, samples: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """Append `(frames, channels)`: left-aligned int32 for PCM, else float32."""

    def close(self) -> None:
        """Flush the encoder, write the header and close the file."""


def container_of(write_format: WriteFormat, frames: int, channels: int) -> str:
    """Return libsndfile's name of the container: `RF64` for a WAV above 4 GiB (EBU Tech 3306)."""
    if write_format.format != "wav":
        return write_format.format.upper()
    is_too_long = pcm_bytes(frames, channels, write_format.bit_depth) > _RIFF_LIMIT_BYTES
    return "RF64" if is_too_long else "WAV"


def open_writer(
    path: Path, write_format: WriteFormat, *, expected_frames: int, channels: Sequence[str]
) -> SampleWriter:
    """Open a file for writing; overwrite an existing one.

    libsndfile cannot write channel names, so FFmpeg writes files of more than two known channels.
    """
    needs_names = len(channels) > STEREO and set(channels) <= KNOWN_CHANNELS
    if needs_names or write_format.format in _LIBAV_ENCODERS:
        return LibavWriter(path, write_format, channels)
    container = container_of(write_format, expected_frames, len(channels))
    return SndfileWriter(path, write_format, container, len(channels))


class SndfileWriter:
    """Writes WAV, FLAC and Vorbis with libsndfile."""

    def __init__(
        self, path: Path, write_format: WriteFormat, container: str, channels: int
    ) -> None:
        self._block_frames = BLOCK_FRAMES
        options: dict[str, object] = {"subtype": _SUBTYPES[write_format.bit_depth]}
        if write_format.format == "ogg":
            quality = np.interp(
                write_format.bit_rate or LOSSY["ogg"].bit_rate,
                list(_VORBIS_QUALITIES),
                list(_VORBIS_QUALITIES.values()),
            )
            options = {"subtype": "VORBIS", "compression_level": 1.0 - float(quality)}
            self._block_frames = _VORBIS_BLOCK_FRAMES
        self._file = soundfile.SoundFile(
            sndfile_path(path),
            "w",
            samplerate=write_format.sample_rate,
            channels=channels,
            format=container,
            **options,
        )

    def write(self, samples: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """See `SampleWriter.write`."""
        for block in split_block(samples, self._block_frames):
            self._file.write(block)

    def close(self) -> None:
        """See `SampleWriter.close`."""
        self._file.close()


class LibavWriter:
    """Writes MP3, Opus and AAC, and WAV and FLAC of more than two channels, with FFmpeg.

    The lossy files are gapless: they declare how many samples of padding the encoder added at
    either end.
    """

    def __init__(self, path: Path, write_format: WriteFormat, channels: Sequence[str]) -> None:
        import av

        from stemsplit.audio.av_frames import FrameBuilder

        self._frame_builder = FrameBuilder(write_format.sample_rate, channels)
        self._is_int16 = write_format.bits == 16  # noqa: PLR2004 - FFmpeg's s16
        codec, container, options = _encoding(write_format)
        self._container = av.open(os.fspath(path), "w", format=container, options=options)
        stream = self._container.add_stream(
            codec, rate=write_format.sample_rate, layout=self._frame_builder.layout
        )
        if not isinstance(stream, av.AudioStream):
            raise TypeError(codec)
        stream.format = _SAMPLE_FORMATS.get(codec, "s16" if self._is_int16 else "s32")
        if write_format.format in LOSSY:
            stream.bit_rate = write_format.bit_rate or LOSSY[write_format.format].bit_rate
            if len(channels) == 1:
                stream.bit_rate = min(stream.bit_rate, LOSSY[write_format.format].max_bit_rate // 2)
        stream.codec_context.thread_count = 1
        self._stream: av.AudioStream | None = stream

    def write(self, samples: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """See `SampleWriter.write`."""
        if not len(samples) or self._stream is None:
            return
        converted: NDArray[Any] = samples
        if self._is_int16:
            converted = (converted >> 16).astype(np.int16)
        frame = self._frame_builder.build(converted)
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


def _encoding(write_format: WriteFormat) -> tuple[str, str, dict[str, str]]:
    """Return FFmpeg's names of the encoder and the container, and the container's options."""
    if write_format.format == "wav":
        return _PCM_CODECS[write_format.bit_depth], "wav", {"rf64": "auto"}
    if write_format.format == "flac":
        return "flac", "flac", {}
    codec, container = _LIBAV_ENCODERS[write_format.format]
    if write_format.format == "m4a":
        # The default time scale of MP4's edit list is too coarse to end at an exact sample.
        return codec, container, {"movie_timescale": str(write_format.sample_rate)}
    return codec, container, {}
