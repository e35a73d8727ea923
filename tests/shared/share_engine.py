"""An engine that gives each stem a constant share of the mix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ShareEngine:
    """Returns a constant mask for each stem; records the magnitudes that it gets.

    Attributes:
        shares: value of the mask of each stem.
        seen: the magnitudes of each segment.
    """

    model = "shares"

    def __init__(self, *shares: float, bins: int = 2049) -> None:
        """Name the stems `a`, `b` and so on.

        Args:
            shares: value of the mask of each stem.
            bins: number of frequency bins that the engine processes.
        """
        self.shares = shares
        self.stems = tuple("abcd"[: len(shares)])
        self.bins = bins
        self.seen: list[NDArray[np.float32]] = []

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return constant masks of the shape of `magnitudes`."""
        self.seen.append(magnitudes)
        return tuple(np.full_like(magnitudes, share) for share in self.shares)


def four_shares() -> ShareEngine:
    """Return an engine with four stems that processes the lower half of the spectrum."""
    return ShareEngine(0.1, 0.2, 0.3, 0.4, bins=1024)
