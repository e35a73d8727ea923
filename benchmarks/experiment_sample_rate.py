"""Do the sample rate of the source and the converter to 44.1 kHz matter?

    python benchmarks/experiment_sample_rate.py [--output docs/pictures]

Converts songs with known true stems to 48 and 96 kHz with soxr at very high quality, adds noise
above 22.5 kHz, where recordings at these rates have content too, and converts them back to the 44.1
kHz of the model with several converters: soxr as in stemsplit, soxr's quick mode, linear
interpolation and the nearest sample. Compares the stems with those of the original songs and with
the true stems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import soxr
from common import environment, print_line
from plots import ACCENT, INK, save
from separation import (
    parse_output_folder,
    print_separation_error,
    rms_db,
    separate_samples,
    stem_difference,
    synthetic_song,
    true_stems,
)

from stemsplit.api.demo.run import si_sdr
from stemsplit.audio.resample import RateConverter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

SECONDS = 60
RATE = 44_100
ULTRASOUND_HERTZ, ULTRASOUND_RMS = 22_500, 10 ** (-60 / 20)
"""At -60 dBFS, the level of the ultrasound of cymbals."""


def soxr_very_high(samples: Samples, rate: int, frames: int) -> Samples:
    """Convert as stemsplit does."""
    converter = RateConverter(rate, RATE, 2)
    return np.concatenate([converter.push(samples), converter.finish(frames)])


def soxr_quick(samples: Samples, rate: int, _frames: int) -> Samples:
    """Convert with soxr's quick mode, which is cubic interpolation."""
    return np.asarray(soxr.resample(samples, rate, RATE, quality="QQ"), np.float32)


def linear(samples: Samples, rate: int, frames: int) -> Samples:
    """Convert by linear interpolation."""
    positions = np.arange(frames) * rate / RATE
    channels = [np.interp(positions, np.arange(len(samples)), channel) for channel in samples.T]
    return np.stack(channels, axis=1).astype(np.float32)


def nearest_sample(samples: Samples, rate: int, frames: int) -> Samples:
    """Convert by taking the nearest sample."""
    positions = np.minimum(np.rint(np.arange(frames) * rate / RATE).astype(int), len(samples) - 1)
    return np.asarray(samples[positions], np.float32)


CONVERTERS: dict[str, Callable[[Samples, int, int], Samples]] = {
    "soxr, very high quality (stemsplit)": soxr_very_high,
    "soxr, quick": soxr_quick,
    "linear interpolation": linear,
    "nearest sample": nearest_sample,
}


def _ultrasound(frames: int, rate: int) -> Samples:
    """Return noise above the Nyquist frequency of 44.1 kHz."""
    random = np.random.default_rng(rate)
    spectrum = np.fft.rfft(random.standard_normal((frames, 2)), axis=0)
    hertz = np.fft.rfftfreq(frames, 1 / rate)
    spectrum[hertz < ULTRASOUND_HERTZ] = 0
    noise = np.fft.irfft(spectrum, frames, axis=0)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)) * ULTRASOUND_RMS, np.float32)


def main() -> None:
    """Print the table and draw the chart."""
    output = parse_output_folder(__doc__)
    print_line(f"{environment()}\n")
    song = synthetic_song(SECONDS)
    truth = true_stems(song)
    reference = separate_samples(song.mix)
    print_line(
        "| source | converter | change of the mix, dB | change of the stems, dB "
        "| SI-SDR vocals, dB | SI-SDR accompaniment, dB |"
    )
    print_line("|---|---|---|---|---|---|")
    scores = [f"{si_sdr(reference[stem], truth[stem]):.2f}" for stem in truth]
    print_line(f"| 44.1 kHz | none | | | {' | '.join(scores)} |")
    changes: dict[str, list[float]] = {name: [] for name in CONVERTERS}
    rates = (48_000, 96_000)
    for rate in rates:
        source = np.asarray(soxr.resample(song.mix, RATE, rate, quality="VHQ"), np.float32)
        source += _ultrasound(len(source), rate)
        for name, convert in CONVERTERS.items():
            mix = convert(source, rate, len(song.mix))[: len(song.mix)]
            stems = separate_samples(mix)
            change, _ = stem_difference(reference, stems)
            changes[name].append(change)
            scores = [f"{si_sdr(stems[stem], truth[stem][: len(mix)]):.2f}" for stem in truth]
            noise = rms_db(mix - song.mix[: len(mix)]) - rms_db(song.mix)
            print_line(
                f"| {rate / 1000:g} kHz | {name} | {noise:.1f} | {change:.1f} "
                f"| {' | '.join(scores)} |"
            )
    print_line()
    errors = print_separation_error(reference, truth)
    _draw(changes, rates, max(errors.values()), output / "experiment_sample_rate.png")


def _draw(
    changes: dict[str, list[float]], rates: tuple[int, ...], error: float, path: Path
) -> None:
    figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
    rows = np.arange(len(changes))
    for number, (rate, colour) in enumerate(zip(rates, (INK, "#7a9cc6"), strict=True)):
        values = [change[number] for change in changes.values()]
        bars = axis.barh(
            rows + 0.4 * number - 0.2, [value + 120 for value in values], 0.36, left=-120,
            color=colour, label=f"{rate / 1000:g} kHz",
        )  # fmt: skip
        axis.bar_label(bars, [f"{value:.0f}" for value in values], padding=3)
    axis.axvline(error, color=ACCENT, label="separation error")
    axis.set_yticks(rows, list(changes))
    axis.set_xlabel("change of the stems by the conversion, dB relative to the stem")
    axis.set_xlim(-120, 10)
    axis.invert_yaxis()
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    save(figure, path)


if __name__ == "__main__":
    main()
