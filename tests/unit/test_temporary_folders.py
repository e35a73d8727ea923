"""Temporary folders, which a later process removes if their own process was killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stemsplit.core.errors import UnwritableError
from stemsplit.storage.temporary_folders import TemporaryFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the locks need Unix")

_HOLDER = """\
import sys, time
from stemsplit.storage.temporary_folders import TemporaryFolder
print(TemporaryFolder("stemsplit-test-").path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _temporary_files_are_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process of a test creates its temporary folders there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """Locked folders stay; the caller is notified before a removal."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        removed: list[Path] = []
        mine = TemporaryFolder("stemsplit-test-", removed.append)
        second = TemporaryFolder("stemsplit-test-", removed.append)
        assert {other, mine.path, second.path} == {*tmp_path.iterdir()}
        process.send_signal(signal.SIGKILL)
    third = TemporaryFolder("stemsplit-test-", removed.append)
    assert removed == [other]
    assert not other.exists()
    for folder in (mine, second, third):
        assert folder.path.exists()
        folder.remove()
    assert [*tmp_path.iterdir()] == []


def test_a_removed_folder_is_created_again() -> None:
    """It gets the same path and is private to the user."""
    folder = TemporaryFolder("stemsplit-test-")
    assert not folder.restore()
    shutil.rmtree(folder.path)
    assert folder.restore()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """The error has a remedy."""
    shutil.rmtree(tmp_path)
    with pytest.raises(UnwritableError, match="set TMPDIR to another folder"):
        TemporaryFolder("stemsplit-test-")
