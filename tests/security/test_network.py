"""No batch contacts another machine; strace records all addresses."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from common import COMMAND
from hostile import every_configuration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

_CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
_ADDRESS = re.compile(r'inet_(?:addr\(|pton\(AF_INET6, )"([^"]+)"')
_OTHER_MACHINE = "192.0.2.1"
"""Reserved for documentation (RFC 5737). Connecting a datagram socket sends nothing."""


def _is_local(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


@pytest.fixture
def run_traced(tmp_path: Path) -> Callable[..., set[str]]:
    """Return a function that runs a command and returns the remote addresses it contacts."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")

    def run(*command: str | Path) -> set[str]:
        trace = tmp_path / "trace"
        completed = subprocess.run(
            [strace, "-f", "-qq", "-e", _CALLS, "-o", trace, *command],
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert completed.returncode == 0, completed.stderr
        return {
            address for address in _ADDRESS.findall(trace.read_text()) if not _is_local(address)
        }

    program = f"import socket as s; s.socket(type=s.SOCK_DGRAM).connect(('{_OTHER_MACHINE}', 9))"
    try:
        recorded = run(sys.executable, "-c", program)
    except AssertionError as error:
        pytest.skip(f"strace is not permitted: {error}")
    assert recorded == {_OTHER_MACHINE}
    return run


@every_configuration
def test_a_batch_contacts_no_other_machine(
    run_traced: Callable[..., set[str]],
    real_models: Path,
    song_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    """The model is installed; and no library writes a file to the home folder."""
    monkeypatch.setenv("STEMSPLIT_MODELS", str(real_models))
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    assert run_traced(COMMAND, "separate", song_file, "-o", "out", *options) == set()
    assert len([*(tmp_path / "out" / "song").iterdir()]) == 2
    assert [*(tmp_path / "home").iterdir()] == []
