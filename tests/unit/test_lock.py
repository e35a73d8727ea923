"""One run at a time: the lock names its holder, and a dead holder is no obstacle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from stemsplit.core.errors import ExitCode, UnwritableError
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.lock import LockedError, held, holder_of, is_held

if TYPE_CHECKING:
    from pathlib import Path

_HOLDER = """
import sys, time
from pathlib import Path
from stemsplit.journal.lock import held
from stemsplit.journal.layout import State
with held(State(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    """With the exit code that scripts can tell."""
    state = OutputLayout(tmp_path)
    with held(state):
        assert is_held(state)
        with pytest.raises(LockedError, match=f"process {os.getpid()} on") as caught, held(state):
            pass
        assert caught.value.exit_code is ExitCode.LOCKED
        assert is_held(state)
    assert not is_held(state)
    assert holder_of(state) is None
    with held(state):
        pass


def test_a_killed_holder_is_no_obstacle(tmp_path: Path) -> None:
    """The lock goes with the process, though its name stays written there."""
    state = OutputLayout(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, tmp_path], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert is_held(state)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    named = holder_of(state)
    assert named is not None
    assert named.pid == holder.pid
    assert not is_held(state)
    with held(state):
        now = holder_of(state)
        assert now is not None
        assert now.pid == os.getpid()


def test_asking_makes_nothing(tmp_path: Path) -> None:
    """Not even in a folder that was never used."""
    assert not is_held(OutputLayout(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The sentence names the output folder."""
    (tmp_path / "file").touch()
    with (
        pytest.raises(UnwritableError, match="file/out"),
        held(OutputLayout(tmp_path / "file" / "out")),
    ):
        pass
