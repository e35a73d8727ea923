"""Folders for temporary files: gone with their process, or with the next one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stemsplit.core.errors import UnwritableError
from stemsplit.storage.temporary import TemporaryFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks of Unix")

_HOLDS = """\
import sys, time
from stemsplit.storage.temporary import TemporaryFolder
print(TemporaryFolder("stemsplit-test-").path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it in a folder of the test's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_what_a_killed_process_left_goes_and_what_others_use_stays(tmp_path: Path) -> None:
    """Told by a lock, and the caller is asked before."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = Path(process.stdout.readline().strip())
        asked: list[Path] = []
        mine = TemporaryFolder("stemsplit-test-", asked.append)
        second = TemporaryFolder("stemsplit-test-", asked.append)
        assert {other, mine.path, second.path} == {*tmp_path.iterdir()}
        process.send_signal(signal.SIGKILL)
    third = TemporaryFolder("stemsplit-test-", asked.append)
    assert asked == [other]
    assert not other.exists()
    for folder in (mine, second, third):
        assert folder.path.exists()
        folder.remove()
    assert [*tmp_path.iterdir()] == []


def test_one_that_was_removed_is_made_again() -> None:
    """Under its name, unless somebody else has taken that."""
    folder = TemporaryFolder("stemsplit-test-")
    assert not folder.restore()
    shutil.rmtree(folder.path)
    assert folder.restore()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()


def test_one_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """With what to do."""
    shutil.rmtree(tmp_path)
    with pytest.raises(UnwritableError, match="set TMPDIR to another folder"):
        TemporaryFolder("stemsplit-test-")
