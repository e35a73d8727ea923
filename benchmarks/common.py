"""What every benchmark shares: the environment on top, songs to work on, memory from outside."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import soundfile

from stemsplit.api.demo.song import make_song
from stemsplit.core.job import Job
from stemsplit.core.messages import Task
from stemsplit.core.settings import MODEL_SAMPLE_RATE
from stemsplit.executors.local import preload_of
from stemsplit.executors.pool_planning import start_method_of
from stemsplit.models.catalogue import find, written
from stemsplit.models.fetch import ensure
from stemsplit.models.store import models_folder
from stemsplit.supervisor.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.core.limits import Resources
    from stemsplit.core.settings import Settings
    from stemsplit.supervisor.launcher import Child, StartMethod

_PACKAGES = ("stemsplit", "spleeter", "tensorflow", "onnxruntime", "numpy", "scipy")

COMMAND = Path(sys.executable).with_name("stemsplit")
SPLEETER = Path(sys.executable).with_name("spleeter")
SONG_SECONDS = 20


def environment() -> str:
    """Describe what the figures below were measured on, in one line."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES if find_spec(name))
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{packages}; Python {platform.python_version()}; {platform.system()} "
        f"{platform.machine()}, {_processor()}, {cores} cores, {memory:.0f} GiB"
    )


def _processor() -> str:
    """Name the processor, and the instructions that matter to the network."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    told = dict(line.partition(":")[::2] for line in reversed(lines))
    told = {key.strip(): value.strip() for key, value in told.items()}
    best = next(
        (flag for flag in ("avx512_vnni", "avx512f", "avx2") if flag in told.get("flags", "")), ""
    )
    return f"{told.get('model name', platform.processor())} {best}".strip()


def weights_folder() -> Path:
    """Give the folder of models, with the 2stems weights in it, before anything is timed."""
    ensure(find("2stems").weights)
    return models_folder()


def spleeter(files: Sequence[Path], output: Path, seconds: float) -> Measured:
    """Let Spleeter's own command separate files, and see that it did.

    Args:
        files: what to separate.
        output: the folder of the stems.
        seconds: as long as the longest of them at least; Spleeter cuts at ten minutes otherwise.

    Raises:
        RuntimeError: if a stem is missing: its exit code is 0 also when it could do nothing.
    """
    command: list[str | Path] = [SPLEETER, "separate", "-d", f"{seconds:.3f}", "-o", output]
    ran = measure([*command, *files], output.parent, MODEL_PATH=str(weights_folder()))
    missing = [file for file in files if not (output / file.stem / "vocals.wav").exists()]
    if missing:
        raise RuntimeError(f"spleeter wrote nothing for {missing[0]}; is ffmpeg installed?")
    return ran


def write_song(path: Path, seconds: float, *, first_seed: int = 0) -> None:
    """Write a synthetic song of any length as 16-bit stereo WAV, without holding it in memory."""
    left = round(seconds * MODEL_SAMPLE_RATE)
    seed = first_seed
    with soundfile.SoundFile(path, "w", MODEL_SAMPLE_RATE, 2, subtype="PCM_16") as file:
        while left > 0:
            mix = _song(seed % 4)[:left]
            file.write(mix)
            left -= len(mix)
            seed += 1


def write_library(folder: Path, lengths: Sequence[float]) -> list[Path]:
    """Write a synthetic song of each length, in seconds, as 16-bit WAV; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"song {number:02}.wav" for number in range(1, len(lengths) + 1)]
    for number, (path, seconds) in enumerate(zip(paths, lengths, strict=True)):
        write_song(path, seconds, first_seed=number)
    return paths


def content(output: Path) -> dict[str, str]:
    """Give the SHA-256 of each stem in an output folder: of all but the journal and its company."""
    return {
        str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in output.rglob("*")
        if file.is_file() and ".stemsplit" not in file.relative_to(output).parts
    }


def audio_files(folder: Path) -> list[Path]:
    """List the audio files of a folder and of those below it that libsndfile can read."""
    endings = {".aif", ".aiff", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".w64", ".wav"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)


def seconds_of(path: Path) -> float:
    """Give the length of an audio file."""
    return float(soundfile.info(path).duration)


@cache
def _song(seed: int) -> NDArray[np.float32]:
    return make_song(SONG_SECONDS, seed).mix


@dataclass(frozen=True)
class Measured:
    """One run of a command, or several in a row.

    Attributes:
        wall_seconds: from start to end.
        cpu_seconds: of the whole process tree, in user and system mode.
        peak_bytes: the largest sum of PSS over the whole process tree.
        peak_rss_bytes: the largest sum of RSS.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_rss_bytes: int

    def __add__(self, other: Measured) -> Measured:
        """Put a later run behind this one."""
        return Measured(
            self.wall_seconds + other.wall_seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
            max(self.peak_rss_bytes, other.peak_rss_bytes),
        )


def measure(command: Sequence[str | Path], cwd: Path, **variables: str) -> Measured:
    """Run a command to its end and watch the memory of its whole tree, on Linux.

    What was written before is flushed to disk first, so that nobody pays for somebody else.

    Raises:
        RuntimeError: if it fails, with its last words.
    """
    os.sync()
    before = _cpu_seconds()
    began = time.monotonic()
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, cwd=cwd, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=said
        ) as running,
    ):
        watch = Watch(running.pid)
        watch.start()
        code = running.wait()
        wall = time.monotonic() - began
        watch.stop()
        if code != 0:
            said.seek(0)
            words = said.read()[-1000:].decode(errors="replace")
            raise RuntimeError(f"{command[0]} ended with {code}: {words}")
    return Measured(wall, _cpu_seconds() - before, watch.peak_bytes, watch.peak_rss_bytes)


def _cpu_seconds() -> float:
    """Give what all descendants have used that were waited for."""
    times = os.times()
    return times.children_user + times.children_system


def start_methods(settings: Settings) -> list[StartMethod]:
    """Give the ways to start children: the one that a batch takes first, and spawn."""
    return [*dict.fromkeys((start_method_of(settings), "spawn"))]


@contextlib.contextmanager
def ready_launcher(settings: Settings, method: StartMethod) -> Iterator[Launcher]:
    """Start children as a batch with these settings does; the fork server is ready."""
    with Launcher(preload_of(settings), start_method=method) as launcher:
        while not launcher.ready():
            time.sleep(0.05)
        yield launcher


def forget(child: Child, task: Task) -> None:
    """Leave nothing of a child that has ended."""
    child.process.close()
    child.pipe.close()
    child.log_pipe.close()
    shutil.rmtree(task.staging_path)


_DUTY = 10
"""A reading takes at most one part in so many of the time: a large process is slow to read."""


class Watch(threading.Thread):
    """Samples the memory of a process tree up to 20 times a second."""

    def __init__(self, pid: int) -> None:
        """Watch the tree of this process."""
        super().__init__(daemon=True)
        self._pid = pid
        self._stopping = threading.Event()
        self.peak_bytes = 0
        self.peak_rss_bytes = 0

    def run(self) -> None:
        """Sample until told to stop."""
        pause = 0.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            pss, rss = tree_memory_bytes(self._pid)
            self.peak_bytes = max(self.peak_bytes, pss)
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
            pause = max(0.05, (_DUTY - 1) * (time.monotonic() - began))

    def stop(self) -> None:
        """End, and wait for the last sample."""
        self._stopping.set()
        self.join()


def tree_memory_bytes(pid: int) -> tuple[int, int]:
    """Sum the PSS and the RSS of a process and all of its descendants; 0 if it is gone."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0, 0
    pss = rss = 0
    for process in tree:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it ended meanwhile
            continue
        pss += memory.pss
        rss += memory.rss
    return pss, rss


def task_of(
    file: Path, folder: Path, settings: Settings, weights: Path, resources: Resources
) -> Task:
    """Make the task of a child that works on a file, and its work folder `work` below `folder`."""
    work = folder / "work"
    work.mkdir(parents=True)
    return Task(
        job=Job.of(file, {stem: folder / "out" / f"{stem}.wav" for stem in written(settings)}),
        settings=settings,
        resources=resources,
        model_folder=os.fsencode(weights),
        staging_folder=os.fsencode(work),
        log_file=os.fsencode(folder / "log"),
    )


class Nobody:
    """A supervisor that hears nothing and asks for nothing, where a child's work is done here."""

    def send_bytes(self, message: bytes) -> None:
        """Hear nothing."""

    def check(self) -> None:
        """Ask for nothing."""


def mebibytes(count: float) -> str:
    """Give a size for a table."""
    return f"{count / 2**20:,.0f}"


def tell(line: str = "") -> None:
    """Print a line of a table at once."""
    print(line, flush=True)
