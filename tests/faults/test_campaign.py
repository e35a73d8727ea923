"""Runs that are killed at random moments and resumed; `campaign` does this at length."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from campaign import campaign

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 15


@pytest.mark.usefixtures("real_models")
def test_a_batch_that_is_killed_goes_on(tmp_path: Path) -> None:
    """Every track in the end whole and right, finished once, and never to be seen half."""
    tally = campaign(tmp_path, KILLS, seed=int(time.time()), engine="fake_engines:half")
    assert sum(tally.kills.values()) >= KILLS
    assert tally.looks > 100 * tally.libraries
