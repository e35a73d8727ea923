"""Audio files of the kinds that libsndfile does not write, by FFmpeg's encoders."""

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
"""Of each packet of PCM; encoders of other codecs cut what they get themselves."""


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
    """Write a file in the container that its name ends with.

    Args:
        path: of the file.
        samples: `(frames, channels)`.
        codec: FFmpeg's name of the encoder.
        rate: in Hz.
        layout: FFmpeg's name of the channels' arrangement.
        sample_format: that the encoder is to have, if not its usual one.
        bit_rate: likewise.
        pictures: so many frames of a film, at 25 a second, go with the sound.
        options: of the container.
    """
    output: Any = av.open(str(path), "w", options=options)
    film = output.add_stream("mpeg4", rate=25) if pictures else None
    sound = output.add_stream(codec, rate=rate, layout=layout)
    if sample_format:
        sound.format = sample_format
    if bit_rate:
        sound.bit_rate = bit_rate
    if film is not None:
        film.width, film.height, film.pix_fmt = 64, 64, "yuv420p"
    for number in range(pictures):
        picture = av.VideoFrame(64, 64, "yuv420p")
        picture.pts = number
        output.mux(film.encode(picture))
    step = _PCM_FRAMES if codec.startswith("pcm") else max(len(samples), 1)
    for first in range(0, len(samples), step):
        piece = samples[first : first + step].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        output.mux(sound.encode(frame))
    for stream in (film, sound):
        if stream is not None:
            output.mux(stream.encode(None))
    output.close()
