"""Recordings for the awkward files, whose noise differs at any two times, and their encodings."""

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
"""Duration of each recording."""


@cache
def recording(name: str, rate: int = RATE, channels: int = 2) -> NDArray[np.float32]:
    """Return four seconds of noise below 5 kHz, which every codec preserves.

    Args:
        name: name of the recording; each has different noise.
        rate: sample rate in Hz.
        channels: 1 or 2.
    """
    random = np.random.default_rng([ord(character) for character in name])
    samples = random.normal(0, 1, (round(SECONDS * RATE), 2))
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
    container: str,
    subtype: str = "PCM_16",
    rate: int = RATE,
    channels: int = 2,
    **options: Any,  # noqa: ANN401 - of libsndfile
) -> bytes:
    """Encode a recording with libsndfile."""
    file = io.BytesIO()
    soundfile.write(
        file, recording(name, rate, channels), rate, format=container, subtype=subtype, **options
    )
    return file.getvalue()


def libav(
    folder: Path,
    name: str,
    file: str,
    codec: str,
    rate: int = RATE,
    channels: int = 2,
    **options: Any,  # noqa: ANN401 - of `write_libav`
) -> bytes:
    """Encode a recording with FFmpeg; the extension of `file` selects the container."""
    path = folder / f"encoded {file}"
    layout = "mono" if channels == 1 else "stereo"
    write_libav(path, recording(name, rate, channels), codec, rate=rate, layout=layout, **options)
    return path.read_bytes()
