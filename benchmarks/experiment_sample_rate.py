"""Does the sample rate of the source matter, and how it is brought to 44.1 kHz?

    python benchmarks/experiment_sample_rate.py [--output docs/pictures]

Songs whose true stems are known are brought to 48 and 96 kHz by the best converter at hand, get
noise above 22.5 kHz, where recordings at these rates have something, too, and are brought back to
the model's 44.1 kHz in several ways: by soxr as stemsplit does it, by soxr's quick mode, by
straight lines between samples, and by leaving samples out. The stems are compared with those of the
songs that were never converted, and with the truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import soxr
from common import environment, tell
from plots import ACCENT, INK, save
from separation import apart, level, output_folder, song, stems_of, tell_own_error, truth_of

from stemsplit.api.demo.score import si_sdr
from stemsplit.audio.resample import RateConverter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SECONDS = 60
RATE = 44_100
ULTRASOUND_HERTZ, ULTRASOUND_RMS = 22_500, 10 ** (-60 / 20)
"""At -60 dBFS, as loud as what is left of cymbals there."""


def ours(samples: Samples, rate: int, frames: int) -> Samples:
    """Convert as stemsplit does."""
    converter = RateConverter(rate, RATE, 2)
    return np.concatenate([converter.push(samples), converter.finish(frames)])


def quick(samples: Samples, rate: int, _frames: int) -> Samples:
    """Convert by soxr's quick mode: cubic interpolation."""
    return np.asarray(soxr.resample(samples, rate, RATE, quality="QQ"), np.float32)


def lines(samples: Samples, rate: int, frames: int) -> Samples:
    """Take straight lines between samples."""
    at = np.arange(frames) * rate / RATE
    channels = [np.interp(at, np.arange(len(samples)), channel) for channel in samples.T]
    return np.stack(channels, axis=1).astype(np.float32)


def nearest(samples: Samples, rate: int, frames: int) -> Samples:
    """Take the nearest sample."""
    at = np.minimum(np.rint(np.arange(frames) * rate / RATE).astype(int), len(samples) - 1)
    return np.asarray(samples[at], np.float32)


WAYS: dict[str, Callable[[Samples, int, int], Samples]] = {
    "soxr, very high quality (stemsplit)": ours,
    "soxr, quick": quick,
    "straight lines": lines,
    "nearest sample": nearest,
}


def _ultrasound(frames: int, rate: int) -> Samples:
    """Make noise above what 44.1 kHz holds."""
    random = np.random.default_rng(rate)
    spectrum = np.fft.rfft(random.standard_normal((frames, 2)), axis=0)
    hertz = np.fft.rfftfreq(frames, 1 / rate)
    spectrum[hertz < ULTRASOUND_HERTZ] = 0
    noise = np.fft.irfft(spectrum, frames, axis=0)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)) * ULTRASOUND_RMS, np.float32)


def main() -> None:
    """Print the table and draw the picture."""
    output = output_folder(__doc__)
    tell(f"{environment()}\n")
    whole = song(SECONDS)
    truth = truth_of(whole)
    reference = stems_of(whole.mix)
    tell("| source | converted by | change of the mix, dB | change of the stems, dB "
         "| SI-SDR vocals, dB | SI-SDR accompaniment, dB |")  # fmt: skip
    tell("|---|---|---|---|---|---|")
    scores = [f"{si_sdr(reference[stem], truth[stem]):.2f}" for stem in truth]
    tell(f"| 44.1 kHz | not at all | | | {' | '.join(scores)} |")
    changes: dict[str, list[float]] = {name: [] for name in WAYS}
    rates = (48_000, 96_000)
    for rate in rates:
        source = np.asarray(soxr.resample(whole.mix, RATE, rate, quality="VHQ"), np.float32)
        source += _ultrasound(len(source), rate)
        for name, convert in WAYS.items():
            mix = convert(source, rate, len(whole.mix))[: len(whole.mix)]
            stems = stems_of(mix)
            change, _ = apart(reference, stems)
            changes[name].append(change)
            scores = [f"{si_sdr(stems[stem], truth[stem][: len(mix)]):.2f}" for stem in truth]
            noise = level(mix - whole.mix[: len(mix)]) - level(whole.mix)
            tell(f"| {rate / 1000:g} kHz | {name} | {noise:.1f} | {change:.1f} "
                 f"| {' | '.join(scores)} |")  # fmt: skip
    tell()
    errors = tell_own_error(reference, truth)
    _draw(changes, rates, max(errors.values()), output / "experiment_sample_rate.png")


def _draw(
    changes: dict[str, list[float]], rates: tuple[int, ...], error: float, path: Path
) -> None:
    figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
    places = np.arange(len(changes))
    for number, (rate, colour) in enumerate(zip(rates, (INK, "#7a9cc6"), strict=True)):
        values = [change[number] for change in changes.values()]
        bars = axis.barh(
            places + 0.4 * number - 0.2, [value + 120 for value in values], 0.36, left=-120,
            color=colour, label=f"{rate / 1000:g} kHz",
        )  # fmt: skip
        axis.bar_label(bars, [f"{value:.0f}" for value in values], padding=3)
    axis.axvline(error, color=ACCENT, label="error of the separation itself")
    axis.set_yticks(places, list(changes))
    axis.set_xlabel("change of the stems by the conversion, dB against the stem")
    axis.set_xlim(-120, 10)
    axis.invert_yaxis()
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    save(figure, path)


if __name__ == "__main__":
    main()
