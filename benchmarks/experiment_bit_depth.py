"""Does the bit depth of the input change the stems? Does padding, or writing 24 bits, help?

    python benchmarks/experiment_bit_depth.py [--output docs/pictures]

Songs whose true stems are known are rounded to 8, 16 and 24 bits, separated, and compared with the
stems of the same songs in floating point, and with the truth. Then a stem itself is brought to 16
and 24 bits as stemsplit writes it: what differs is the noise floor of the file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from common import environment, tell
from plots import ACCENT, INK, PALE, save
from separation import apart, level, output_folder, song, stems_of, tell_own_error, truth_of

from stemsplit.api.demo.score import si_sdr
from stemsplit.audio.encode import quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECONDS = 80
FULL_STEP = {8: 2.0**-7, 16: 2.0**-15, 24: 2.0**-23}


def rounded(samples: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round to whole steps of a bit depth."""
    step = np.float32(FULL_STEP[bits])
    return np.asarray(np.rint(samples / step) * step, np.float32)


def main() -> None:
    """Print the tables and draw the picture."""
    output = output_folder(__doc__)
    tell(f"{environment()}\n")
    whole = song(SECONDS)
    truth = truth_of(whole)
    reference = stems_of(whole.mix)
    tell("| input | its noise, dBFS | change of the stems, dB | largest change of a sample "
         "| SI-SDR vocals, dB | SI-SDR accompaniment, dB |")  # fmt: skip
    tell("|---|---|---|---|---|---|")
    inputs = {f"{bits} bits": rounded(whole.mix, bits) for bits in (8, 16, 24)}
    inputs["16 bits, padded to 24"] = _padded(whole.mix)
    inputs["32-bit float"] = whole.mix
    changes, separated = {}, {}
    for name, mix in inputs.items():
        stems = separated[name] = stems_of(mix)
        changes[name], largest = apart(reference, stems)
        scores = [f"{si_sdr(stems[stem], truth[stem]):.3f}" for stem in truth]
        tell(f"| {name} | {level(mix - whole.mix):.1f} | {changes[name]:.1f} | {largest:.1e} "
             f"| {' | '.join(scores)} |")  # fmt: skip
    plain, padded = separated["16 bits"], separated["16 bits, padded to 24"]
    equal = all(np.array_equal(plain[name], padded[name]) for name in truth)
    tell(f"\nStems of 16 bits and of 16 bits padded to 24 equal to the last bit: {equal}")
    errors = tell_own_error(reference, truth)
    floors = _floors(reference["vocals"])
    tell("\n| the stem is written with | error, dBFS | below the stem, dB |")
    tell("|---|---|---|")
    for name, floor in floors.items():
        tell(f"| {name} | {floor:.1f} | {level(reference['vocals']) - floor:.1f} |")
    _draw(changes, errors, floors, output / "experiment_bit_depth.png")


def _padded(mix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Write at 16 bits, convert the file to 24, and read that."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "song.wav"
        soundfile.write(path, rounded(mix, 16), 44_100, subtype="PCM_16")
        samples, rate = soundfile.read(path, dtype="int32")
        soundfile.write(path, samples, rate, subtype="PCM_24")
        return np.asarray(soundfile.read(path, dtype="float32")[0])


def _floors(stem: NDArray[np.float32]) -> dict[str, float]:
    """Give the level of what each way to write a stem adds to it."""
    random = np.random.Generator(np.random.SFC64(0))
    cut = np.trunc(stem * 2.0**15) / 2.0**15  # what a bare conversion of types does
    dithered = "16 bits, dithered (TPDF)"
    written = {
        "16 bits, cut off": np.asarray(cut, np.float32),
        "16 bits, rounded": quantise(stem, 16)[0] / 2.0**31,
        dithered: quantise(stem, 16, random)[0] / 2.0**31,
        "24 bits, rounded": quantise(stem, 24)[0] / 2.0**31,
    }
    return {name: level(samples - stem.astype(np.float64)) for name, samples in written.items()}


def _draw(
    changes: dict[str, float], errors: dict[str, float], floors: dict[str, float], path: Path
) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.2), layout="constrained")
    shown = {name: change for name, change in changes.items() if np.isfinite(change)}
    names = [*shown, *(f"error of the separation: {name}" for name in errors)]
    values = [*shown.values(), *errors.values()]
    colours = [INK] * len(shown) + [ACCENT] * len(errors)
    bars = left.barh(names, [value + 160 for value in values], left=-160, color=colours)
    left.bar_label(bars, [f"{value:.0f}" for value in values], padding=3)
    left.set_xlabel("change of the stems by the input's bit depth, dB against the stem")
    left.set_xlim(-160, 20)
    left.invert_yaxis()
    bars = right.barh(
        list(floors), [floor + 160 for floor in floors.values()], left=-160, color=PALE
    )
    right.bar_label(bars, [f"{floor:.0f}" for floor in floors.values()], padding=3)
    right.set_xlabel("error that writing adds, dBFS")
    right.set_xlim(-160, -60)
    right.invert_yaxis()
    save(figure, path)


if __name__ == "__main__":
    main()
