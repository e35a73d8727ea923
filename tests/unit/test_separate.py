"""The separation loop with an engine whose right answer is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from stemsplit.audio.transforms import best_transform
from stemsplit.child.separation import separate

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ShareEngine:
    """Gives a fixed share of every bin it sees to each stem."""

    model = "shares"
    stems = ("quarter", "rest")
    bins = 2049
    needed_memory_bytes = 0

    def __init__(self) -> None:
        """Nothing has been asked yet."""
        self.seen: list[NDArray[np.float32]] = []

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return constant masks and keep what was asked."""
        self.seen.append(magnitudes)
        return tuple(np.full_like(magnitudes, share) for share in (0.25, 0.75))


class HalfBandEngine(ShareEngine):
    """Sees the lower half of the bins alone."""

    bins = 1024


@pytest.mark.parametrize("overlapped", [False, True])
@pytest.mark.parametrize("frames", [1, 5_000, 520_193, 1_200_000])
def test_stems_are_shares_of_the_mix(frames: int, overlapped: bool) -> None:  # noqa: FBT001
    """With constant masks each stem is that share of the mix, sample for sample, at any length."""
    mix = np.random.default_rng(frames).uniform(-1, 1, (frames, 2)).astype(np.float32)
    engine = ShareEngine()
    steps = separate(np.array_split(mix, 7), engine, best_transform(), overlapped=overlapped)
    parts = [part for step in steps for part in step]
    quarter, rest = (np.concatenate(stem) for stem in zip(*parts, strict=True))
    np.testing.assert_allclose(quarter, 0.25 * mix, atol=1e-6)
    np.testing.assert_allclose(rest, 0.75 * mix, atol=1e-6)
    assert all(seen.shape == (512, 2049, 2) for seen in engine.seen)
    assert all(seen.min() >= 0 for seen in engine.seen)


def test_above_the_engine_s_bins_stems_are_silent() -> None:
    """As in Spleeter, nothing above bin F survives."""
    time = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 15_000 * time).astype(np.float32)
    mix = np.stack([tone, tone], axis=1)
    steps = separate([mix], HalfBandEngine(), best_transform())
    stems = [part for step in steps for (part, _) in step]
    assert np.max(np.abs(np.concatenate(stems)[5_000:-5_000])) < 1e-6
