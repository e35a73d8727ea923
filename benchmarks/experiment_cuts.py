"""What do naive cuts of 30 seconds cost, against separation by the network's own segments?

    python benchmarks/experiment_cuts.py [--output docs/pictures]

A song of three minutes whose true stems are known is separated whole, and in pieces of 30 s that
are separated one by one and joined, as tools do that are short of memory. Each seam cuts through
the frames of the Fourier transform, and the network sees silence where the music goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from common import environment, tell
from separation import ACCENT, INK, level, output_folder, save, song, stems_of

from stemsplit.demo.score import si_sdr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SECONDS, CUT_SECONDS, RATE = 180, 30, 44_100
NEAR_SECONDS = (0.05, 0.5, 5.0)


def main() -> None:
    """Print the table and draw the picture."""
    output = output_folder(__doc__)
    tell(f"{environment()}\n")
    whole = song(SECONDS)
    truth = {"vocals": whole.vocals, "accompaniment": whole.accompaniment}
    exact = stems_of(whole.mix)
    cut_frames = CUT_SECONDS * RATE
    pieces = [
        stems_of(whole.mix[first : first + cut_frames])
        for first in range(0, len(whole.mix), cut_frames)
    ]
    cut = {name: np.concatenate([piece[name] for piece in pieces]) for name in truth}
    seams = range(cut_frames, len(whole.mix), cut_frames)
    tell("| | stem | SI-SDR of the exact, dB | of the cut, dB | lost, dB | cut against exact, dB |")
    tell("|---|---|---|---|---|---|")
    for name in truth:
        for near in (*NEAR_SECONDS, None):
            at = np.arange(len(whole.mix)) if near is None else _around(seams, near)
            good, bad = (si_sdr(stems[name][at], truth[name][at]) for stems in (exact, cut))
            change = level(cut[name][at] - exact[name][at]) - level(exact[name][at])
            where = "the whole song" if near is None else f"within {near:g} s of a seam"
            tell(f"| {where} | {name} | {good:.2f} | {bad:.2f} | {good - bad:.2f} "
                 f"| {change:.1f} |")  # fmt: skip
    jumps = {
        name: max(_jump(stems["vocals"], seam) for seam in seams)
        for name, stems in {"exact": exact, "cut": cut}.items()
    }
    tell("\nLargest step between neighbouring samples of the vocals at a seam: "
         + ", ".join(f"{name} {jump:.4f}" for name, jump in jumps.items()))  # fmt: skip
    _draw(exact, cut, output / "experiment_cuts.png")


def _around(seams: range, seconds: float) -> NDArray[np.int64]:
    reach = round(seconds * RATE)
    return np.concatenate([np.arange(seam - reach, seam + reach) for seam in seams])


def _jump(stem: NDArray[np.float32], seam: int) -> float:
    return float(np.max(np.abs(stem[seam] - stem[seam - 1])))


def _draw(
    exact: dict[str, NDArray[np.float32]], cut: dict[str, NDArray[np.float32]], path: Path
) -> None:
    figure, axis = plt.subplots(figsize=(9, 3), layout="constrained")
    width = RATE // 10
    for name, colour in (("vocals", ACCENT), ("accompaniment", INK)):
        difference = cut[name] - exact[name]
        count = len(difference) // width
        power = np.square(difference[: count * width], dtype=np.float64)
        power = power.reshape(count, -1).mean(axis=1)
        axis.plot(
            np.arange(count) / 10, 10 * np.log10(np.maximum(power, 1e-16)), color=colour, lw=0.9,
            label=name,
        )  # fmt: skip
    for seam in range(CUT_SECONDS, SECONDS, CUT_SECONDS):
        axis.axvline(seam, color="#bbbbbb", lw=0.8, ls="--")
    axis.set_xlabel("s; dashed: seams")
    axis.set_ylabel("cut - exact, dBFS")
    axis.set_ylim(-120, 0)
    axis.legend(loc="upper right", ncols=2)
    save(figure, path)


if __name__ == "__main__":
    main()
