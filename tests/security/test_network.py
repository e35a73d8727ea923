"""Nothing leaves this machine: every address that a batch contacts is recorded by strace."""

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
from hostile import every_way

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

_CALLS = "trace=connect,sendto,sendmsg,sendmmsg"
_ADDRESS = re.compile(r'inet_(?:addr\(|pton\(AF_INET6, )"([^"]+)"')
_ELSEWHERE = "192.0.2.1"
"""Nobody's (RFC 5737). A datagram socket that is connected sends nothing."""


def _is_this_machine(address: str) -> bool:
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


@pytest.fixture
def contacted(tmp_path: Path) -> Callable[..., set[str]]:
    """Run a command; give the addresses outside of this machine that its processes contact."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")

    def run(*command: str | Path) -> set[str]:
        trace = tmp_path / "trace"
        done = subprocess.run(
            [strace, "-f", "-qq", "-e", _CALLS, "-o", trace, *command],
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {one for one in _ADDRESS.findall(trace.read_text()) if not _is_this_machine(one)}

    program = f"import socket as s; s.socket(type=s.SOCK_DGRAM).connect(('{_ELSEWHERE}', 9))"
    try:
        seen = run(sys.executable, "-c", program)
    except AssertionError as error:
        pytest.skip(f"strace may not look on here: {error}")
    assert seen == {_ELSEWHERE}
    return run


@every_way
def test_a_batch_contacts_nobody(
    contacted: Callable[..., set[str]],
    real_models: Path,
    song_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    """Once the model is here; and no library leaves a file in the home folder."""
    monkeypatch.setenv("STEMSPLIT_MODELS", str(real_models))
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    assert contacted(COMMAND, "separate", song_file, "-o", "out", *options) == set()
    assert len([*(tmp_path / "out" / "song").iterdir()]) == 2
    assert [*(tmp_path / "home").iterdir()] == []
