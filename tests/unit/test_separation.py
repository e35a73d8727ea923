"""The separation of a stream, with engines whose correct output is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from share_engine import ShareEngine, four_shares

from stemsplit.audio.fft import NumpyTransform, fastest_transform
from stemsplit.child.separation import separate, separate_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Piece = tuple[NDArray[np.float32], ...]


def _pieces(segments: Iterator[Iterator[Piece]]) -> list[Piece]:
    return [piece for segment in segments for piece in segment]


def _stems(segments: Iterator[Iterator[Piece]]) -> list[NDArray[np.float32]]:
    return [np.concatenate(stem) for stem in zip(*_pieces(segments), strict=True)]


def _tone(frames: int) -> NDArray[np.float32]:
    """Return a stereo tone at 15 kHz, above the bins of `four_shares`."""
    time = np.arange(frames) / 44_100
    tone = np.sin(2 * np.pi * 15_000 * time).astype(np.float32)
    return np.stack([tone, tone], axis=1)


@pytest.mark.parametrize("overlapped", [False, True])
@pytest.mark.parametrize("frames", [1, 5_000, 520_193, 1_200_000])
def test_stems_are_shares_of_the_mix(*, frames: int, overlapped: bool) -> None:
    """With constant masks each stem is its share of the mix, at any length."""
    mix = np.random.default_rng(frames).uniform(-1, 1, (frames, 2)).astype(np.float32)
    engine = ShareEngine(0.25, 0.75)
    quarter, rest = _stems(
        separate(np.array_split(mix, 7), engine, fastest_transform(), overlapped=overlapped)
    )
    np.testing.assert_allclose(quarter, 0.25 * mix, atol=1e-6)
    np.testing.assert_allclose(rest, 0.75 * mix, atol=1e-6)
    assert all(magnitudes.shape == (512, 2049, 2) for magnitudes in engine.seen)
    assert all(magnitudes.min() >= 0 for magnitudes in engine.seen)


def test_stems_are_silent_above_the_bins_of_the_engine() -> None:
    """By default, as in Spleeter."""
    engine = ShareEngine(0.25, 0.75, bins=1024)
    stem, _ = _stems(separate([_tone(44_100)], engine, fastest_transform()))
    assert np.max(np.abs(stem[5_000:-5_000])) < 1e-6


def test_the_average_mask_applies_above_the_bins_of_the_engine() -> None:
    """With `average`, a tone there is divided like the frequencies below."""
    mix = _tone(100_000)
    stems = _stems(separate([mix], four_shares(), fastest_transform(), high_band="average"))
    for stem, share in zip(stems, four_shares().shares, strict=True):
        np.testing.assert_allclose(stem[5_000:-5_000], share * mix[5_000:-5_000], atol=1e-5)


class CountingTransform(NumpyTransform):
    """Counts inverse transforms."""

    inverses = 0

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Count the call and transform."""
        self.inverses += 1
        return super().inverse(spectra)


def test_only_wanted_stems_are_transformed_back() -> None:
    """Two of four stems need half the inverse transforms and have the same samples."""
    mix = np.random.default_rng(0).uniform(-0.5, 0.5, (600_000, 2)).astype(np.float32)
    transform_of_all, transform_of_two = CountingTransform(), CountingTransform()
    all_stems = _pieces(separate([mix], four_shares(), transform_of_all))
    two_stems = _pieces(separate([mix], four_shares(), transform_of_two, stems=("b", "d")))
    assert transform_of_two.inverses * 2 == transform_of_all.inverses
    for expected, wanted in zip(all_stems, two_stems, strict=True):
        np.testing.assert_array_equal(wanted[0], expected[1])
        np.testing.assert_array_equal(wanted[1], expected[3])


class HalvingEngine:
    """Separates a whole file."""

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """Return half of the mix for each stem."""
        return tuple(mix / 2 for _ in stems)


@pytest.mark.parametrize("frames", [0, 1, 1_200_000])
def test_a_whole_file_is_returned_in_pieces(frames: int) -> None:
    """The pieces are complete and in order."""
    mix = np.random.default_rng(0).uniform(-1, 1, (frames, 2)).astype(np.float32)
    pieces = _pieces(separate_whole(np.array_split(mix, 3), HalvingEngine(), ("a",)))
    stem = np.concatenate([np.empty((0, 2), np.float32), *(piece for (piece,) in pieces)])
    np.testing.assert_array_equal(stem, mix / 2)
