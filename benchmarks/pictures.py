"""Draw the figures of docs/audio.md with the code of the package.

    python benchmarks/pictures.py [--output docs/pictures]

Requires the extra `benchmarks`, and the 2stems model for the last figure.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from common import COMMAND
from plots import ACCENT, INK, PALE, PICTURES, save

from stemsplit.api.demo.song import make_song
from stemsplit.audio.quantise import quantise
from stemsplit.audio.resample import RateConverter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

RATE = 44_100


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURES)
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    for draw in (sampling, dither, conversion, high_band):
        save(draw(), output / f"{draw.__name__}.png")


def sampling() -> Figure:
    """Draw a tone below the Nyquist frequency, and its alias above, with the same samples."""
    figure, axes = plt.subplots(
        2, 1, figsize=(8, 4.6), sharex=True, sharey=True, layout="constrained"
    )
    fine, samples = np.arange(0, 22, 0.01), np.arange(22)
    for axis, hertz in zip(axes, (5_000, RATE - 5_000), strict=True):
        axis.plot(fine, np.cos(2 * np.pi * hertz * fine / RATE), color=PALE)
        axis.plot(fine, np.cos(2 * np.pi * 5_000 * fine / RATE), color=INK, lw=1, ls="--")
        axis.plot(samples, np.cos(2 * np.pi * hertz * samples / RATE), "o", color=ACCENT, ms=4)
        axis.set_title(f"{hertz / 1000:g} kHz, sampled at 44.1 kHz", loc="left", fontsize=10)
        axis.set_yticks([-1, 0, 1])
    axes[1].set_xlabel("sample")
    names = ["signal", "reconstruction from the samples", "samples"]
    figure.legend(axes[1].get_lines(), names, loc="outside lower center", ncols=3)
    return figure


def _spectrum(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frequencies in kHz and their levels, where a full-scale tone has 0 dB."""
    length = 1 << 14
    window = np.hanning(length)
    starts = range(0, len(samples) - length, length // 2)
    blocks = (samples[start : start + length] for start in starts)
    power = np.mean([np.abs(np.fft.rfft(block * window)) ** 2 for block in blocks], axis=0)
    level = 10 * np.log10(np.maximum(power, 1e-30) / (window.sum() / 2) ** 2)
    return np.fft.rfftfreq(length, 1 / RATE) / 1000, level


def dither() -> Figure:
    """Draw a soft tone at 16 bits, rounded and dithered."""
    time = np.arange(20 * RATE) / RATE
    tone = 1.4 * 2.0**-15 * np.sin(2 * np.pi * 441 * time)
    samples = tone.astype(np.float32)
    random = np.random.Generator(np.random.SFC64(0))
    variants = {
        "rounded": quantise(samples, 16)[0],
        "dithered": quantise(samples, 16, random)[0],
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 5.2), width_ratios=(1, 1.4))
    for (wave, level), (name, steps) in zip(axes, variants.items(), strict=True):
        values = (steps >> 16).astype(np.float64)
        shown = slice(0, 300)
        wave.step(time[shown] * 1000, values[shown], where="mid", color=ACCENT, lw=0.9)
        wave.plot(time[shown] * 1000, tone[shown] * 2**15, color=INK)
        wave.set_ylabel("16-bit steps")
        wave.set_yticks(range(-3, 4))
        wave.set_title(name, loc="left", fontsize=10)
        level.plot(*_spectrum(values / 2**15), color=ACCENT, lw=0.7)
        level.set_ylim(-160, -80)
        level.set_ylabel("dBFS")
    axes[0, 1].set_title("the error consists of harmonics of the tone", loc="left", fontsize=10)
    axes[1, 1].set_title("the error is noise, independent of the signal", loc="left", fontsize=10)
    axes[1, 0].set_xlabel("ms")
    axes[1, 1].set_xlabel("kHz")
    figure.tight_layout()
    return figure


def conversion() -> Figure:
    """Draw tones up to 24 kHz, converted from 48 to 44.1 kHz by interpolation and by soxr."""
    source_rate, seconds = 48_000, 20
    time = np.arange(seconds * source_rate) / source_rate
    tones = sum(np.sin(2 * np.pi * hertz * time + hertz) for hertz in range(1_000, 24_000, 1_000))
    samples = np.asarray(tones, np.float32)[:, None] / 30
    converter = RateConverter(source_rate, RATE, 1)
    good = np.concatenate([converter.push(samples), converter.finish(seconds * RATE)])[:, 0]
    positions = np.arange(seconds * RATE) * source_rate / RATE
    poor = np.interp(positions, np.arange(len(samples)), samples[:, 0])
    figure, axes = plt.subplots(2, 1, figsize=(8, 5), sharex=True, sharey=True)
    for axis, values, title in zip(
        axes,
        (poor, good),
        ("linear interpolation", "stemsplit (soxr, very high quality)"),
        strict=True,
    ):
        axis.plot(*_spectrum(values.astype(np.float64)), color=INK, lw=0.7)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("dBFS")
        axis.set_ylim(-170, 0)
    axes[1].set_xlabel("kHz")
    figure.tight_layout()
    return figure


def _spectrogram(axis: Axes, path: Path, title: str) -> None:
    samples, rate = soundfile.read(path)
    axis.specgram(samples[:, 0], NFFT=2048, Fs=rate, noverlap=1024, vmin=-140, vmax=-40,
                  cmap="magma")  # fmt: skip
    axis.set_title(title, loc="left", fontsize=10)
    axis.set_yticks(range(0, 22_001, 5_500), ["0", "5.5", "11", "16.5", "22 kHz"])
    axis.set_xlabel("s")
    axis.grid(visible=False)


def high_band() -> Figure:
    """Draw the same vocals with an empty high band, and with `--high-band average`."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "song.wav", make_song(6.0).mix, RATE, subtype="PCM_24")
        for option in ("zeros", "average"):
            subprocess.run(
                [COMMAND, "separate", folder / "song.wav", "-o", folder / option, "-q",
                 "--high-band", option],
                check=True,
            )  # fmt: skip
        _spectrogram(axes[0], folder / "song.wav", "song")
        for axis, option in zip(axes[1:], ("zeros", "average"), strict=True):
            path = folder / option / "song" / "vocals.wav"
            _spectrogram(axis, path, f"vocals, --high-band {option}")
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
