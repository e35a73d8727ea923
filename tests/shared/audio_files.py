"""Writes audio files in formats that libsndfile does not support, with FFmpeg's encoders."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

RATE = 44_100
_PCM_FRAMES = 4_096
"""Frames in each packet of PCM; other encoders split their input themselves."""


def write_libav(
    path: Path,
    samples: NDArray[np.float32],
    codec: str,
    *,
    rate: int = RATE,
    layout: str = "stereo",
    sample_format: str = "",
    bit_rate: int = 0,
    pictures: int = 0,
    **options: str,
) -> None:
    """Write a file in the container of its extension.

    Args:
        path: path of the file.
        samples: `(frames, channels)`.
        codec: FFmpeg's name of the encoder.
        rate: sample rate in Hz.
        layout: FFmpeg's name of the channel layout.
        sample_format: sample format of the encoder; empty for its default.
        bit_rate: bit rate in bit/s; 0 for the encoder's default.
        pictures: number of video frames, at 25 per second.
        options: options of the container.
    """
    output: Any = av.open(str(path), "w", options=options)
    video = output.add_stream("mpeg4", rate=25) if pictures else None
    audio = output.add_stream(codec, rate=rate, layout=layout)
    if sample_format:
        audio.format = sample_format
    if bit_rate:
        audio.bit_rate = bit_rate
    if video is not None:
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
    for number in range(pictures):
        picture = av.VideoFrame(64, 64, "yuv420p")
        picture.pts = number
        output.mux(video.encode(picture))
    step = _PCM_FRAMES if codec.startswith("pcm") else max(len(samples), 1)
    for first in range(0, len(samples), step):
        piece = samples[first : first + step].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        output.mux(audio.encode(frame))
    for stream in (video, audio):
        if stream is not None:
            output.mux(stream.encode(None))
    output.close()
