"""What experiments share: separation of arrays in this process, measures, and the look of plots."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from stemsplit.audio.stft import ScipyTransform
from stemsplit.child.engines.tensorflow import load
from stemsplit.child.separate import separate
from stemsplit.demo.song import Song, make_song
from stemsplit.models.catalogue import find
from stemsplit.models.fetch import ensure

mpl.use("Agg")

import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from stemsplit.child.engines import Engine

    Stems = dict[str, NDArray[np.float32]]

INK, ACCENT, PALE, OTHER = "#1f3a5f", "#d1495b", "#9aa5b1", "#2a9d8f"
SONG_SECONDS = 20.0
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"


@cache
def engine() -> Engine:
    """Load the 2stems model, fetched if need be."""
    return load("2stems", ensure(find("2stems").weights), threads=2)


def stems_of(mix: NDArray[np.float32]) -> Stems:
    """Separate `(frames, 2)` float32 at 44.1 kHz as the command does."""
    steps = separate([mix], engine(), ScipyTransform(), overlapped=True)
    pieces = [piece for step in steps for piece in step]
    names = engine().stems
    return {name: np.concatenate(parts) for name, *parts in zip(names, *pieces, strict=True)}


def song(seconds: float) -> Song:
    """Make a song of any length out of the synthetic ones, with its true stems."""
    count = -(-seconds // SONG_SECONDS)
    parts = [make_song(SONG_SECONDS, seed) for seed in range(int(count))]
    frames = round(seconds * 44_100)
    return Song(
        vocals=np.concatenate([part.vocals for part in parts])[:frames],
        accompaniment=np.concatenate([part.accompaniment for part in parts])[:frames],
    )


def level(samples: NDArray[np.float32]) -> float:
    """Give the RMS level in dB below full scale; -inf for silence."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def apart(one: Stems, other: Stems) -> tuple[float, float]:
    """Give how far stems are apart.

    Returns:
        the RMS of the difference in dB against the stem, of the worst stem; and the largest
        difference of any sample, full scale being 1.
    """
    worst, largest = -np.inf, 0.0
    for name, stem in one.items():
        difference = other[name][: len(stem)] - stem[: len(other[name])]
        worst = max(worst, level(difference) - level(stem))
        largest = max(largest, float(np.max(np.abs(difference))))
    return worst, largest


def output_folder(description: str | None) -> Path:
    """Read the command line of an experiment: where its picture goes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=PICTURES,
        help="where the picture goes (default: where the documents show it)",
    )  # fmt: skip
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    return output


def save(figure: Figure, path: Path) -> None:
    """Write a picture."""
    figure.savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    print(f"\n{path}")


plt.rcParams.update(
    {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
     "grid.color": "#e6e6e6", "axes.axisbelow": True, "legend.frameon": False}
)  # fmt: skip
