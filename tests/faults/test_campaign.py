"""Batches that are killed or disturbed at random moments and resumed, with `campaign`."""

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
KILLS = 3
TROUBLES = 2


def test_a_killed_batch_can_be_resumed(tmp_path: Path) -> None:
    """Each track is finished exactly once, and never visible while incomplete."""
    result = campaign(tmp_path, KILLS, seed=int(time.time()), engine=ENGINE)
    assert sum(result.kills.values()) >= KILLS
    assert result.checks > 100 * result.libraries


def test_a_batch_can_be_resumed_after_a_full_disk(
    tmp_path: Path, mount: Callable[[str], Path]
) -> None:
    """The disk is filled at random moments; no track is left incomplete."""
    seed = int(time.time())
    campaign(tmp_path, TROUBLES, seed=seed, engine=ENGINE, trouble="full", disk=mount("160m"))


def test_a_batch_can_be_resumed_after_its_folder_was_read_only(tmp_path: Path) -> None:
    """The folder becomes read-only at random moments."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions without setpriv")
    campaign(tmp_path, TROUBLES, seed=int(time.time()), engine=ENGINE, trouble="read-only")
