"""What does separation in pieces of 30 seconds cost, compared with streaming by segments?

    python benchmarks/experiment_cuts.py [--output docs/pictures]

Separates a song of three minutes with known true stems whole, and in pieces of 30 s that are joined
afterwards, as some tools do to save memory. Each cut breaks frames of the Fourier transform, and in
the last segment of a piece the network sees silence where the music continues. The position of the
first cut varies, which results in some thirty cuts at different positions of the music.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from common import environment, print_line
from plots import ACCENT, INK, save
from separation import parse_output_folder, rms_db, separate_samples, synthetic_song, true_stems

from stemsplit.api.demo.run import si_sdr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from separation import Stems

SECONDS, CUT_SECONDS, RATE = 180, 30, 44_100
FIRST_CUTS_SECONDS = (30, 25, 19, 14, 9, 4)
NEAR_SECONDS = (0.02, 0.1, 1.0)


def main() -> None:
    """Print the table and draw the chart."""
    output = parse_output_folder(__doc__)
    print_line(f"{environment()}\n")
    song = synthetic_song(SECONDS)
    truth = true_stems(song)
    whole = separate_samples(song.mix)
    frames = len(song.mix)
    cuts = [list(range(first * RATE, frames, CUT_SECONDS * RATE)) for first in FIRST_CUTS_SECONDS]
    joined = [_separate_in_pieces(song.mix, positions) for positions in cuts]
    print_line(f"{sum(map(len, cuts))} cuts\n")
    print_line("| | stem | SI-SDR, whole, dB | SI-SDR, pieces, dB | loss, dB | difference, dB |")
    print_line("|---|---|---|---|---|---|")
    for name in truth:
        for seconds in (*NEAR_SECONDS, None):
            indices = [
                np.arange(frames) if seconds is None else _around(positions, seconds, frames)
                for positions in cuts
            ]
            true, good = (
                np.concatenate([stems[name][near] for near in indices]) for stems in (truth, whole)
            )
            bad = np.concatenate(
                [stems[name][near] for stems, near in zip(joined, indices, strict=True)]
            )
            before, after = si_sdr(good, true), si_sdr(bad, true)
            where = "the whole song" if seconds is None else f"within {seconds:g} s of a cut"
            difference = rms_db(bad - good) - rms_db(good)
            print_line(
                f"| {where} | {name} | {before:.2f} | {after:.2f} | {before - after:.2f} "
                f"| {difference:.1f} |"
            )
    steps = {
        "whole": [_step(whole["vocals"], cut) for positions in cuts for cut in positions],
        "pieces": [
            _step(stems["vocals"], cut)
            for stems, positions in zip(joined, cuts, strict=True)
            for cut in positions
        ],
    }
    figures = (f"{name} {np.median(step):.4f}, {max(step):.4f}" for name, step in steps.items())
    print_line(
        "\nDifference between adjacent samples of the vocals at a cut, median and maximum: "
        + "; ".join(figures)
    )
    _draw(whole, joined, truth, cuts, output / "experiment_cuts.png")


def _separate_in_pieces(mix: NDArray[np.float32], cuts: list[int]) -> Stems:
    """Separate the pieces between cuts one by one, and join the stems."""
    pieces = [separate_samples(piece) for piece in np.split(mix, cuts)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _around(cuts: list[int], seconds: float, frames: int) -> NDArray[np.int64]:
    """Return the indices of the frames within `seconds` of a cut."""
    reach = round(seconds * RATE)
    return np.concatenate(
        [np.arange(max(cut - reach, 0), min(cut + reach, frames)) for cut in cuts]
    )


def _step(stem: NDArray[np.float32], cut: int) -> float:
    return float(np.max(np.abs(stem[cut] - stem[cut - 1])))


def _draw(
    whole: Stems, joined: list[Stems], truth: Stems, cuts: list[list[int]], path: Path
) -> None:
    """Draw the mean error over all cuts by distance from the cut."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharex=True, layout="constrained")
    reach, width = RATE // 2, RATE // 100
    seconds = (np.arange(2 * reach // width) + 0.5) * width / RATE - reach / RATE
    for axis, name in zip(axes, truth, strict=True):
        for label, results, colour in (
            ("pieces of 30 s, joined", joined, ACCENT),
            ("whole song", [whole] * len(joined), INK),
        ):
            power = np.mean(
                [
                    _power(stems[name] - truth[name], cut, reach, width)
                    for stems, positions in zip(results, cuts, strict=True)
                    for cut in positions
                    if reach <= cut <= len(truth[name]) - reach
                ],
                axis=0,
            )
            axis.plot(seconds, 10 * np.log10(power), color=colour, lw=1.2, label=label)
        axis.set_title(name, loc="left", fontsize=10)
        axis.set_xlabel("distance from a cut, s")
    axes[0].set_ylabel("error of the stem, dBFS")
    axes[0].legend(fontsize=8)
    save(figure, path)


def _power(error: NDArray[np.float32], cut: int, reach: int, width: int) -> NDArray[np.float64]:
    """Return the mean power of each `width` frames within `reach` of a cut."""
    around = np.square(error[cut - reach : cut + reach], dtype=np.float64)
    power: NDArray[np.float64] = around.reshape(-1, width * error.shape[1]).mean(axis=1)
    return power


if __name__ == "__main__":
    main()
