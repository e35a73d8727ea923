"""Shared by the experiments: separation of arrays in this process, and error measures."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import print_line
from plots import PICTURES

from stemsplit.api.demo.song import Song, make_song
from stemsplit.audio.fft import fastest_transform
from stemsplit.child.engines.tensorflow.engine import load
from stemsplit.child.separation import separate
from stemsplit.models.catalogue import find_model
from stemsplit.models.download import ensure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stemsplit.child.engines.protocols import Engine

    Stems = dict[str, NDArray[np.float32]]

SONG_SECONDS = 20.0


@cache
def engine() -> Engine:
    """Load the 2stems model; download it if necessary."""
    return load("2stems", ensure(find_model("2stems").weights), threads=2)


def separate_samples(mix: NDArray[np.float32]) -> Stems:
    """Separate `(frames, 2)` float32 at 44.1 kHz as the command does; return the stems by name."""
    steps = separate([mix], engine(), fastest_transform(), overlapped=True)
    pieces = [piece for step in steps for piece in step]
    names = engine().stems
    return {name: np.concatenate(parts) for name, *parts in zip(names, *pieces, strict=True)}


def synthetic_song(seconds: float) -> Song:
    """Return a synthetic song of any length, with its true stems."""
    count = -(-seconds // SONG_SECONDS)
    parts = [make_song(SONG_SECONDS, seed) for seed in range(int(count))]
    frames = round(seconds * 44_100)
    return Song(
        vocals=np.concatenate([part.vocals for part in parts])[:frames],
        accompaniment=np.concatenate([part.accompaniment for part in parts])[:frames],
    )


def true_stems(song: Song) -> Stems:
    """Return the true stems of a song by name."""
    return {"vocals": song.vocals, "accompaniment": song.accompaniment}


def rms_db(samples: NDArray[np.float32]) -> float:
    """Return the RMS level in dBFS; -inf for silence."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def stem_difference(reference: Stems, stems: Stems) -> tuple[float, float]:
    """Compare stems with reference stems.

    Returns:
        The RMS of the difference relative to the reference in dB, of the worst stem, and the
        largest difference of any sample, where full scale is 1.
    """
    worst, largest = -np.inf, 0.0
    for name, stem in reference.items():
        difference = stems[name][: len(stem)] - stem[: len(stems[name])]
        worst = max(worst, rms_db(difference) - rms_db(stem))
        largest = max(largest, float(np.max(np.abs(difference))))
    return worst, largest


def print_separation_error(stems: Stems, truth: Stems) -> dict[str, float]:
    """Print and return the error of each stem in dB relative to the true stem."""
    errors = {name: rms_db(stems[name] - stem) - rms_db(stem) for name, stem in truth.items()}
    listed = ", ".join(f"{name} {error:.1f} dB" for name, error in errors.items())
    print_line(f"Error of the separation relative to the true stems: {listed}")
    return errors


def parse_output_folder(description: str | None) -> Path:
    """Parse the command line of an experiment; return the folder for its picture."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", default=PICTURES,
        help="folder for the picture (default: the folder that the documentation uses)",
    )  # fmt: skip
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    return output
