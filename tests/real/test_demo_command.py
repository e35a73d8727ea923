"""`stemsplit demo` as a person runs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.real
@pytest.mark.usefixtures("real_models")
def test_the_demo_shows_a_true_separation(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """Both stems gain more than 11 dB on the mix, and the files are where it says."""
    ran = stemsplit("demo")
    assert ran.code == 0
    rows = re.findall(r"^  (\w+) +(-?[\d.]+) +(-?[\d.]+) +(-?[\d.]+)$", ran.out, re.MULTILINE)
    assert [row[0] for row in rows] == ["vocals", "accompaniment"]
    for _, mix, separated, gained in rows:
        assert float(gained) == pytest.approx(float(separated) - float(mix), abs=0.11)
        assert float(gained) > 11
    assert (tmp_path / "stemsplit-demo/demo-song.wav").exists()
    assert (tmp_path / "stemsplit-demo/demo-song/vocals.wav").exists()
    assert stemsplit("demo", "--quiet").out == ""
