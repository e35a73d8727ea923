"""The watchdog that was started for a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stemsplit.supervisor.process_start import CannotStartError
from stemsplit.supervisor.watchdog_launcher import WatchdogProcess

if TYPE_CHECKING:
    from pathlib import Path


def test_a_watchdog_that_cannot_be_restarted_can_still_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pipe is closed by then, and the end of the session must not fail for that."""
    watchdog = WatchdogProcess(tmp_path)
    watchdog._process.kill()
    watchdog._process.wait()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", refuse)
    with pytest.raises(CannotStartError):
        watchdog.restart_if_dead()
    watchdog.stop()
