"""Runs that are killed or troubled at random moments, and resumed; see also `campaign`."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from campaign import campaign

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("real_models")

ENGINE = "fake_engines:half"
KILLS = 15
TROUBLES = 4


def test_a_batch_that_is_killed_goes_on(tmp_path: Path) -> None:
    """Every track in the end whole and right, finished once, and never to be seen half."""
    tracker = campaign(tmp_path, KILLS, seed=int(time.time()), engine=ENGINE)
    assert sum(tracker.kills.values()) >= KILLS
    assert tracker.looks > 100 * tracker.libraries


def test_a_batch_whose_disk_is_filled_goes_on(tmp_path: Path, mount: Callable[[str], Path]) -> None:
    """At whatever moment that happens: a sentence, nothing half, and the rest later."""
    seed = int(time.time())
    campaign(tmp_path, TROUBLES, seed=seed, engine=ENGINE, trouble="full", disk=mount("160m"))


def test_a_batch_whose_folder_turns_read_only_goes_on(tmp_path: Path) -> None:
    """The same for permissions."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to be refused anything")
    campaign(tmp_path, TROUBLES, seed=int(time.time()), engine=ENGINE, trouble="read-only")
