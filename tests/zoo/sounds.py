"""What goes into the awkward files: sound unlike itself at any other time, and its encodings."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr
from audio_files import write_libav

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 44_100
SECONDS = 4.0
"""Of each tape."""


@cache
def tape(name: str, rate: int = RATE, channels: int = 2) -> NDArray[np.float32]:
    """Return four seconds of noise below 5 kHz, which every codec keeps; another one by each name.

    Args:
        name: of the tape.
        rate: in Hz.
        channels: 1 or 2.
    """
    dice = np.random.default_rng([ord(one) for one in name])
    samples = dice.normal(0, 1, (round(SECONDS * RATE), 2))
    spectrum = np.fft.rfft(samples, axis=0)
    spectrum[round(5_000 * SECONDS) :] = 0
    samples = np.fft.irfft(spectrum, axis=0) * 0.5
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * np.arange(len(samples)) / RATE * 1.7)
    samples = (samples * swell[:, None]).clip(-0.99, 0.99).astype(np.float32)
    if rate != RATE:
        samples = soxr.resample(samples, RATE, rate)
    return np.array(samples[:, :channels], np.float32)


def sndfile(
    name: str,
    kind: str,
    subtype: str = "PCM_16",
    rate: int = RATE,
    channels: int = 2,
    **how: Any,  # noqa: ANN401 - of libsndfile
) -> bytes:
    """Encode a tape with libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, tape(name, rate, channels), rate, format=kind, subtype=subtype, **how)
    return file.getvalue()


def libav(
    folder: Path,
    name: str,
    file: str,
    codec: str,
    rate: int = RATE,
    channels: int = 2,
    **how: Any,  # noqa: ANN401 - of `write_libav`
) -> bytes:
    """Encode a tape with FFmpeg's libraries, in the container that `file` ends with."""
    path = folder / f"encoded {file}"
    layout = "mono" if channels == 1 else "stereo"
    write_libav(path, tape(name, rate, channels), codec, rate=rate, layout=layout, **how)
    return path.read_bytes()
