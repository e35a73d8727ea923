"""Does the bit depth of the input change the stems? Does padding, or writing 24 bits, help?

    python benchmarks/experiment_bit_depth.py [--output docs/pictures]

Rounds songs with known true stems to 8, 16 and 24 bits, separates them, and compares the stems with
those of the same songs in floating point and with the true stems. Then quantises a stem to 16 and
24 bits as stemsplit does, to measure the noise that this adds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from common import environment, print_line
from plots import ACCENT, INK, PALE, save
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
from stemsplit.audio.quantise import quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = 80
FULL_STEP = {8: 2.0**-7, 16: 2.0**-15, 24: 2.0**-23}


def rounded(samples: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round to the steps of a bit depth."""
    step = np.float32(FULL_STEP[bits])
    return np.asarray(np.rint(samples / step) * step, np.float32)


def main() -> None:
    """Print the tables and draw the chart."""
    output = parse_output_folder(__doc__)
    print_line(f"{environment()}\n")
    song = synthetic_song(SECONDS)
    truth = true_stems(song)
    reference = separate_samples(song.mix)
    print_line(
        "| input | noise, dBFS | change of the stems, dB | largest change of a sample "
        "| SI-SDR vocals, dB | SI-SDR accompaniment, dB |"
    )
    print_line("|---|---|---|---|---|---|")
    inputs = {f"{bits} bits": rounded(song.mix, bits) for bits in (8, 16, 24)}
    inputs["16 bits, padded to 24"] = _padded(song.mix)
    inputs["32-bit float"] = song.mix
    changes, separated = {}, {}
    for name, mix in inputs.items():
        stems = separated[name] = separate_samples(mix)
        changes[name], largest = stem_difference(reference, stems)
        scores = [f"{si_sdr(stems[stem], truth[stem]):.3f}" for stem in truth]
        print_line(
            f"| {name} | {rms_db(mix - song.mix):.1f} | {changes[name]:.1f} | {largest:.1e} "
            f"| {' | '.join(scores)} |"
        )
    plain, padded = separated["16 bits"], separated["16 bits, padded to 24"]
    equal = all(np.array_equal(plain[name], padded[name]) for name in truth)
    print_line(f"\nStems of 16 bits and of 16 bits padded to 24 are identical: {equal}")
    errors = print_separation_error(reference, truth)
    floors = _floors(reference["vocals"])
    print_line("\n| output format | error, dBFS | below the stem, dB |")
    print_line("|---|---|---|")
    for name, floor in floors.items():
        print_line(f"| {name} | {floor:.1f} | {rms_db(reference['vocals']) - floor:.1f} |")
    _draw(changes, errors, floors, output / "experiment_bit_depth.png")


def _padded(mix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write a 16-bit file, convert it to 24 bits, and read the result."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "song.wav"
        soundfile.write(path, rounded(mix, 16), 44_100, subtype="PCM_16")
        samples, rate = soundfile.read(path, dtype="int32")
        soundfile.write(path, samples, rate, subtype="PCM_24")
        return np.asarray(soundfile.read(path, dtype="float32")[0])


def _floors(stem: NDArray[np.float32]) -> dict[str, float]:
    """Return the level of the error that each output format adds to a stem."""
    random = np.random.Generator(np.random.SFC64(0))
    cut = np.trunc(stem * 2.0**15) / 2.0**15  # as a cast to integer does
    dithered = "16 bits, dithered (TPDF)"
    written = {
        "16 bits, truncated": np.asarray(cut, np.float32),
        "16 bits, rounded": quantise(stem, 16)[0] / 2.0**31,
        dithered: quantise(stem, 16, random)[0] / 2.0**31,
        "24 bits, rounded": quantise(stem, 24)[0] / 2.0**31,
    }
    return {name: rms_db(samples - stem.astype(np.float64)) for name, samples in written.items()}


def _draw(
    changes: dict[str, float], errors: dict[str, float], floors: dict[str, float], path: Path
) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
    shown = {name: change for name, change in changes.items() if np.isfinite(change)}
    names = [*shown, *(f"separation error: {name}" for name in errors)]
    values = [*shown.values(), *errors.values()]
    colours = [INK] * len(shown) + [ACCENT] * len(errors)
    bars = left.barh(names, [value + 160 for value in values], left=-160, color=colours)
    left.bar_label(bars, [f"{value:.0f}" for value in values], padding=3)
    left.set_xlabel("change of the stems by the input's bit depth, dB relative to the stem")
    left.set_xlim(-160, 20)
    left.invert_yaxis()
    bars = right.barh(
        list(floors), [floor + 160 for floor in floors.values()], left=-160, color=PALE
    )
    right.bar_label(bars, [f"{floor:.0f}" for floor in floors.values()], padding=3)
    right.set_xlabel("error of the output format, dBFS")
    right.set_xlim(-160, -60)
    right.invert_yaxis()
    save(figure, path)


if __name__ == "__main__":
    main()
