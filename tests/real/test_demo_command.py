"""`stemsplit demo` from the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.real
@pytest.mark.usefixtures("real_models")
def test_the_demo_separates_its_song(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """Both stems improve on the mix by more than 11 dB, and the files exist."""
    result = stemsplit("demo")
    assert result.code == 0
    rows = re.findall(r"^  (\w+) +(-?[\d.]+) +(-?[\d.]+) +(-?[\d.]+)$", result.out, re.MULTILINE)
    assert [row[0] for row in rows] == ["vocals", "accompaniment"]
    for _, mix, separated, gain in rows:
        assert float(gain) == pytest.approx(float(separated) - float(mix), abs=0.11)
        assert float(gain) > 11
    assert (tmp_path / "stemsplit-demo/demo-song.wav").exists()
    assert (tmp_path / "stemsplit-demo/demo-song/vocals.wav").exists()
    assert stemsplit("demo", "--quiet").out == ""
