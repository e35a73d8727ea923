"""The lock that allows one run at a time in an output folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from stemsplit.core.errors import ExitCode, UnwritableError
from stemsplit.journal.lock import LockedError, hold_lock, is_locked, read_holder
from stemsplit.journal.output_layout import OutputLayout

if TYPE_CHECKING:
    from pathlib import Path

_HOLDER = """
import sys, time
from pathlib import Path
from stemsplit.journal.lock import hold_lock
from stemsplit.journal.output_layout import OutputLayout
with hold_lock(OutputLayout(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused(tmp_path: Path) -> None:
    """The error names the holder of the lock and has an exit code of its own."""
    layout = OutputLayout(tmp_path)
    with hold_lock(layout):
        assert is_locked(layout)
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} on") as caught,
            hold_lock(layout),
        ):
            pass
        assert caught.value.exit_code is ExitCode.LOCKED
        assert is_locked(layout)
    assert not is_locked(layout)
    assert read_holder(layout) is None
    with hold_lock(layout):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """The system releases the lock, although the file still names the process."""
    layout = OutputLayout(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert is_locked(layout)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    recorded = read_holder(layout)
    assert recorded is not None
    assert recorded.pid == holder.pid
    assert not is_locked(layout)
    with hold_lock(layout):
        current = read_holder(layout)
        assert current is not None
        assert current.pid == os.getpid()


def test_a_check_of_the_lock_creates_no_files(tmp_path: Path) -> None:
    """The folder may never have been used."""
    assert not is_locked(OutputLayout(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    """The error names the output folder."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnwritableError, match="file/out"),
        hold_lock(OutputLayout(tmp_path / "file" / "out")),
    ):
        pass
