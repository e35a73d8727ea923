"""What every benchmark shares: the environment on top, songs to work on, memory from outside."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import soundfile

from stemsplit.demo.song import make_song
from stemsplit.job import MODEL_SAMPLE_RATE

COMMAND = Path(sys.executable).with_name("stemsplit")
SPLEETER = Path(sys.executable).with_name("spleeter")
SONG_SECONDS = 20


def environment() -> str:
    """Describe what the figures below were measured on, in one line."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("stemsplit", "spleeter", "tensorflow")
    )
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{packages}; Python {platform.python_version()}; {platform.system()} "
        f"{platform.machine()}, {cores} cores, {memory:.0f} GiB"
    )


def write_song(path: Path, seconds: float, *, first_seed: int = 0) -> None:
    """Write a synthetic song of any length as 16-bit stereo WAV, without holding it in memory."""
    left = round(seconds * MODEL_SAMPLE_RATE)
    seed = first_seed
    with soundfile.SoundFile(path, "w", MODEL_SAMPLE_RATE, 2, subtype="PCM_16") as file:
        while left > 0:
            mix = make_song(SONG_SECONDS, seed % 4).mix[:left]
            file.write(mix)
            left -= len(mix)
            seed += 1


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        wall_seconds: from start to end.
        peak_bytes: the largest sum of PSS over the whole process tree.
    """

    wall_seconds: float
    peak_bytes: int


def measure(command: list[str | Path], cwd: Path, **variables: str) -> Measured:
    """Run a command to its end and watch the memory of its whole tree.

    Raises:
        RuntimeError: if it fails.
    """
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=cwd, env=os.environ | variables, stdout=subprocess.DEVNULL, text=True
    ) as running:
        watch = _Watch(running.pid)
        watch.start()
        code = running.wait()
        wall = time.monotonic() - began
        watch.stop()
    if code != 0:
        raise RuntimeError(f"{command[0]} ended with {code}")
    return Measured(wall, watch.peak_bytes)


class _Watch(threading.Thread):
    """Samples the memory of a process tree 20 times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._stopping = threading.Event()
        self.peak_bytes = 0

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._stopping.wait(0.05):
            self.peak_bytes = max(self.peak_bytes, tree_memory_bytes(self._pid) or 0)

    def stop(self) -> None:
        """End, and wait for the last sample."""
        self._stopping.set()
        self.join()


def tree_memory_bytes(pid: int) -> int | None:
    """Sum the PSS of a process and all of its descendants; None if it cannot be read."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for process in tree:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended meanwhile
            continue
    return total
