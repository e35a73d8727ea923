"""The installed command: its results, and batches that are still running."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("stemsplit")


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a finished command."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def start_batch(
    folder: Path, *arguments: str | Path, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `separate --json` in a folder; yield it after the first segment of the first track.

    The batch is killed at the end if it still runs.

    Args:
        folder: the current folder of the command; the stems go to `out` in it.
        arguments: inputs and options.
        environment: additional environment variables.
    """
    with subprocess.Popen(
        [COMMAND, "separate", *arguments, "-o", "out", "--json"],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"track_progress"' in line:
                break
        visible = [path for path in (folder / "out").iterdir() if path.name != ".stemsplit"]
        assert visible, "the track has a staging folder"
        yield process
        process.kill()
