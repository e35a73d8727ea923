"""Earlier names of public attributes."""

from __future__ import annotations

import pytest

from stemsplit import Attempt, Reason
from stemsplit.core.limits import Resources
from stemsplit.core.outcome import StemFile


def test_effort_returns_the_resources() -> None:
    """The warning points to the caller and names the new attribute."""
    attempt = Attempt(number=1, resources=Resources(threads=2), reason=Reason.DONE)
    with pytest.warns(DeprecationWarning, match="use Attempt.resources") as caught:
        assert attempt.effort is attempt.resources
    assert caught[0].filename == __file__


def test_outline_returns_the_waveform_overview() -> None:
    """The warning points to the caller and names the new attribute."""
    stem = StemFile(
        stem="vocals",
        file_name="vocals.wav",
        frames=1,
        peak=1.0,
        clipped_samples=0,
        waveform_overview=b"\xff",
    )
    with pytest.warns(DeprecationWarning, match="use StemFile.waveform_overview") as caught:
        assert stem.outline == b"\xff"
    assert caught[0].filename == __file__
