"""Shared by all benchmarks: description of the environment, synthetic songs, memory sampling."""

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
from stemsplit.core.version import __version__
from stemsplit.executors.local import preload_modules
from stemsplit.executors.plan_local_pool import start_method_of
from stemsplit.models.catalogue import find_model, stems_to_write
from stemsplit.models.download import ensure
from stemsplit.models.store import models_folder
from stemsplit.supervisor.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from stemsplit.core.limits import Resources
    from stemsplit.core.settings import Settings
    from stemsplit.supervisor.launcher import Child, StartMethod

_PACKAGES = ("spleeter", "tensorflow", "onnxruntime", "numpy", "scipy")

COMMAND = Path(sys.executable).with_name("stemsplit")
SPLEETER = Path(sys.executable).with_name("spleeter")
SONG_SECONDS = 20


def environment() -> str:
    """Describe the machine and the package versions in one line."""
    packages = "".join(f", {name} {version(name)}" for name in _PACKAGES if find_spec(name))
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"stemsplit {__version__}{packages}; Python {platform.python_version()}; "
        f"{platform.system()} {platform.machine()}, {_processor()}, {cores} cores, {memory:.0f} GiB"
    )


def _processor() -> str:
    """Return the name of the processor and its best vector instruction set."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    pairs = [line.partition(":")[::2] for line in reversed(lines)]
    fields = {key.strip(): value.strip() for key, value in pairs}
    flags = fields.get("flags", "")
    best = next((flag for flag in ("avx512_vnni", "avx512f", "avx2") if flag in flags), "")
    return f"{fields.get('model name', platform.processor())} {best}".strip()


def fetch_weights() -> Path:
    """Download the 2stems weights if necessary; return the folder of models."""
    ensure(find_model("2stems").weights)
    return models_folder()


def run_spleeter(files: Sequence[Path], output: Path, seconds: float) -> Usage:
    """Separate files with Spleeter's command line and check that it wrote stems.

    Args:
        files: audio files to separate.
        output: folder for the stems.
        seconds: duration of the longest file; by default, Spleeter stops after ten minutes.

    Raises:
        RuntimeError: a stem is missing. Spleeter exits with 0 even if it separated nothing.
    """
    command: list[str | Path] = [SPLEETER, "separate", "-d", f"{seconds:.3f}", "-o", output]
    usage = measure([*command, *files], output.parent, MODEL_PATH=str(fetch_weights()))
    missing = [file for file in files if not (output / file.stem / "vocals.wav").exists()]
    if missing:
        raise RuntimeError(f"spleeter wrote nothing for {missing[0]}; is ffmpeg installed?")
    return usage


def write_song(path: Path, seconds: float, *, first_seed: int = 0) -> None:
    """Write a synthetic song of any length as 16-bit stereo WAV, block by block."""
    remaining = round(seconds * MODEL_SAMPLE_RATE)
    seed = first_seed
    with soundfile.SoundFile(path, "w", MODEL_SAMPLE_RATE, 2, subtype="PCM_16") as file:
        while remaining > 0:
            mix = _song(seed % 4)[:remaining]
            file.write(mix)
            remaining -= len(mix)
            seed += 1


def write_library(folder: Path, lengths: Sequence[float]) -> list[Path]:
    """Write one synthetic song per length in seconds, as 16-bit WAV; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"song {number:02}.wav" for number in range(1, len(lengths) + 1)]
    for number, (path, seconds) in enumerate(zip(paths, lengths, strict=True)):
        write_song(path, seconds, first_seed=number)
    return paths


def stem_hashes(output: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in an output folder, except in `.stemsplit`."""
    return {
        str(file.relative_to(output)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in output.rglob("*")
        if file.is_file() and ".stemsplit" not in file.relative_to(output).parts
    }


def audio_files(folder: Path) -> list[Path]:
    """Return the audio files in a folder and its subfolders, by extensions of libsndfile."""
    extensions = {".aif", ".aiff", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".w64", ".wav"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in extensions)


def duration_of(path: Path) -> float:
    """Return the duration of an audio file in seconds."""
    return float(soundfile.info(path).duration)


@cache
def _song(seed: int) -> NDArray[np.float32]:
    return make_song(SONG_SECONDS, seed).mix


@dataclass(frozen=True)
class Usage:
    """Time and memory of one run of a command, or of several consecutive runs.

    Attributes:
        wall_seconds: wall-clock time.
        cpu_seconds: user and system time of the whole process tree.
        peak_bytes: peak of the sum of PSS over the whole process tree.
        peak_rss_bytes: peak of the sum of RSS over the whole process tree.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_rss_bytes: int

    def __add__(self, other: Usage) -> Usage:
        """Combine this run with a later one: times add up, the larger peak counts."""
        return Usage(
            self.wall_seconds + other.wall_seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
            max(self.peak_rss_bytes, other.peak_rss_bytes),
        )


def measure(command: Sequence[str | Path], cwd: Path, **variables: str) -> Usage:
    """Run a command and measure its whole process tree, on Linux.

    Flushes pending writes to disk first, so that they do not slow down this run.

    Raises:
        RuntimeError: the command failed; the message ends with its standard error.
    """
    os.sync()
    before = _cpu_seconds()
    began = time.monotonic()
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            command, cwd=cwd, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=stderr
        ) as process,
    ):
        sampler = MemorySampler(process.pid)
        sampler.start()
        code = process.wait()
        wall = time.monotonic() - began
        sampler.stop()
        if code != 0:
            stderr.seek(0)
            tail = stderr.read()[-1000:].decode(errors="replace")
            raise RuntimeError(f"{command[0]} exited with code {code}: {tail}")
    return Usage(wall, _cpu_seconds() - before, sampler.peak_bytes, sampler.peak_rss_bytes)


def _cpu_seconds() -> float:
    """Return the CPU time of all terminated descendants."""
    times = os.times()
    return times.children_user + times.children_system


def start_methods(settings: Settings) -> list[StartMethod]:
    """Return the start method that a batch uses, and spawn."""
    return [*dict.fromkeys((start_method_of(settings), "spawn"))]


@contextlib.contextmanager
def ready_launcher(settings: Settings, method: StartMethod) -> Iterator[Launcher]:
    """Yield a launcher like that of a batch with these settings; its fork server is ready."""
    with Launcher(preload_modules(settings), start_method=method) as launcher:
        while not launcher.is_ready():
            time.sleep(0.05)
        yield launcher


def clean_up(child: Child, task: Task) -> None:
    """Close the handles of a child that has exited, and remove its staging folder."""
    child.process.close()
    child.pipe.close()
    child.log_pipe.close()
    shutil.rmtree(task.staging_path)


_DUTY = 10
"""Sampling takes at most 1/10 of the time: reading the memory of a large process is slow."""


class MemorySampler(threading.Thread):
    """Samples the memory of a process tree up to 20 times per second."""

    def __init__(self, pid: int) -> None:
        """Prepare to sample the tree of this process."""
        super().__init__(daemon=True)
        self._pid = pid
        self._stopping = threading.Event()
        self.peak_bytes = 0
        self.peak_rss_bytes = 0

    def run(self) -> None:
        """Sample until `stop` is called."""
        pause = 0.0
        while not self._stopping.wait(pause):
            began = time.monotonic()
            pss, rss = tree_memory_bytes(self._pid)
            self.peak_bytes = max(self.peak_bytes, pss)
            self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
            pause = max(0.05, (_DUTY - 1) * (time.monotonic() - began))

    def stop(self) -> None:
        """Stop sampling, and wait for the last sample."""
        self._stopping.set()
        self.join()


def tree_memory_bytes(pid: int) -> tuple[int, int]:
    """Return the sums of PSS and RSS of a process and its descendants; 0 if it has exited."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0, 0
    pss = rss = 0
    for process in tree:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has exited meanwhile
            continue
        pss += memory.pss
        rss += memory.rss
    return pss, rss


def make_task(
    file: Path, folder: Path, settings: Settings, weights: Path, resources: Resources
) -> Task:
    """Return the task of a child for a file; its staging folder is created below `folder`."""
    staging = folder / "staging"
    staging.mkdir(parents=True)
    return Task(
        job=Job.of(
            file, {stem: folder / "out" / f"{stem}.wav" for stem in stems_to_write(settings)}
        ),
        settings=settings,
        resources=resources,
        model_folder=os.fsencode(weights),
        staging_folder=os.fsencode(staging),
        log_file=os.fsencode(folder / "log"),
    )


class StubSupervisor:
    """Stands in for the supervisor where a child's code runs in this process."""

    def send_bytes(self, message: bytes) -> None:
        """Discard the message."""

    def check(self) -> None:
        """Never request a stop."""


def mebibytes(count: float) -> str:
    """Format a size in MiB for a table."""
    return f"{count / 2**20:,.0f}"


def print_line(line: str = "") -> None:
    """Print a line and flush standard output."""
    print(line, flush=True)
