"""What do naive cuts of 30 seconds cost, against separation by the network's own segments?

    python benchmarks/experiment_cuts.py [--output docs/pictures]

A song of three minutes whose true stems are known is separated whole, and in pieces of 30 s that
are separated one by one and joined, as tools do that are short of memory. Each seam cuts through
the frames of the Fourier transform, and in the last segment of a piece the network sees silence
where the music goes on. Where the first cut is, is varied, so that there are some thirty seams in
different places of the music.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from common import environment, tell
from plots import ACCENT, INK, save
from separation import level, output_folder, song, stems_of, truth_of

from stemsplit.api.demo.score import si_sdr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from separation import Stems

SECONDS, CUT_SECONDS, RATE = 180, 30, 44_100
FIRST_CUTS_SECONDS = (30, 25, 19, 14, 9, 4)
NEAR_SECONDS = (0.02, 0.1, 1.0)


def main() -> None:
    """Print the table and draw the picture."""
    output = output_folder(__doc__)
    tell(f"{environment()}\n")
    whole = song(SECONDS)
    truth = truth_of(whole)
    exact = stems_of(whole.mix)
    frames = len(whole.mix)
    ways = [list(range(first * RATE, frames, CUT_SECONDS * RATE)) for first in FIRST_CUTS_SECONDS]
    cuts = [_cut(whole.mix, seams) for seams in ways]
    tell(f"{sum(map(len, ways))} seams\n")
    tell("| | stem | SI-SDR of the exact, dB | of the cut, dB | lost, dB | cut against exact, dB |")
    tell("|---|---|---|---|---|---|")
    for name in truth:
        for near in (*NEAR_SECONDS, None):
            at = [
                np.arange(frames) if near is None else _around(seams, near, frames)
                for seams in ways
            ]
            true, good = (
                np.concatenate([stems[name][one] for one in at]) for stems in (truth, exact)
            )
            bad = np.concatenate([cut[name][one] for cut, one in zip(cuts, at, strict=True)])
            before, after = si_sdr(good, true), si_sdr(bad, true)
            where = "the whole song" if near is None else f"within {near:g} s of a seam"
            tell(f"| {where} | {name} | {before:.2f} | {after:.2f} | {before - after:.2f} "
                 f"| {level(bad - good) - level(good):.1f} |")  # fmt: skip
    jumps = {
        "exact": [_jump(exact["vocals"], seam) for seams in ways for seam in seams],
        "cut": [
            _jump(cut["vocals"], seam)
            for cut, seams in zip(cuts, ways, strict=True)
            for seam in seams
        ],
    }
    tell("\nStep from one sample to the next of the vocals at a seam, median and largest: "
         + "; ".join(f"{name} {np.median(jump):.4f}, {max(jump):.4f}"
                     for name, jump in jumps.items()))  # fmt: skip
    _draw(exact, cuts, truth, ways, output / "experiment_cuts.png")


def _cut(mix: NDArray[np.float32], seams: list[int]) -> dict[str, NDArray[np.float32]]:
    """Separate what lies between seams on its own, and join it."""
    pieces = [stems_of(piece) for piece in np.split(mix, seams)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _around(seams: list[int], seconds: float, frames: int) -> NDArray[np.int64]:
    reach = round(seconds * RATE)
    return np.concatenate(
        [np.arange(max(seam - reach, 0), min(seam + reach, frames)) for seam in seams]
    )


def _jump(stem: NDArray[np.float32], seam: int) -> float:
    return float(np.max(np.abs(stem[seam] - stem[seam - 1])))


def _draw(exact: Stems, cuts: list[Stems], truth: Stems, ways: list[list[int]], path: Path) -> None:
    """Draw the error against the truth by the distance from a seam, over all seams."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3), sharex=True, layout="constrained")
    reach, width = RATE // 2, RATE // 100
    seconds = (np.arange(2 * reach // width) + 0.5) * width / RATE - reach / RATE
    for axis, name in zip(axes, truth, strict=True):
        for label, stems, colour in (
            ("joined of pieces of 30 s", cuts, ACCENT),
            ("by the network's own segments", [exact] * len(cuts), INK),
        ):
            power = np.mean(
                [
                    _power(one[name] - truth[name], seam, reach, width)
                    for one, seams in zip(stems, ways, strict=True)
                    for seam in seams
                    if reach <= seam <= len(truth[name]) - reach
                ],
                axis=0,
            )
            axis.plot(seconds, 10 * np.log10(power), color=colour, lw=1.2, label=label)
        axis.set_title(name, loc="left", fontsize=10)
        axis.set_xlabel("s from a seam")
    axes[0].set_ylabel("error against the true stem, dBFS")
    axes[0].legend(fontsize=8)
    save(figure, path)


def _power(error: NDArray[np.float32], seam: int, reach: int, width: int) -> NDArray[np.float64]:
    around = np.square(error[seam - reach : seam + reach], dtype=np.float64)
    power: NDArray[np.float64] = around.reshape(-1, width * error.shape[1]).mean(axis=1)
    return power


if __name__ == "__main__":
    main()
