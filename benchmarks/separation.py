"""What experiments share: separation of arrays in this process, and measures."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import tell
from plots import PICTURES

from stemsplit.api.demo.song import Song, make_song
from stemsplit.audio.transforms import best_transform
from stemsplit.child.engines.tensorflow.engine import load
from stemsplit.child.separation import separate
from stemsplit.models.catalogue import find
from stemsplit.models.fetch import ensure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit.child.engines import Engine

    Stems = dict[str, NDArray[np.float32]]

SONG_SECONDS = 20.0


@cache
def engine() -> Engine:
    """Load the 2stems model, fetched if need be."""
    return load("2stems", ensure(find("2stems").weights), threads=2)


def stems_of(mix: NDArray[np.float32]) -> Stems:
    """Separate `(frames, 2)` float32 at 44.1 kHz as the command does."""
    steps = separate([mix], engine(), best_transform(), overlapped=True)
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


def truth_of(whole: Song) -> Stems:
    """Give a song's true stems by their names."""
    return {"vocals": whole.vocals, "accompaniment": whole.accompaniment}


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


def tell_own_error(stems: Stems, truth: Stems) -> dict[str, float]:
    """Print and give the level of each stem's error in dB against the true one."""
    errors = {name: level(stems[name] - stem) - level(stem) for name, stem in truth.items()}
    told = ", ".join(f"{name} {error:.1f} dB" for name, error in errors.items())
    tell(f"The separation's own error, against the true stems: {told}")
    return errors


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
