"""The engines side by side in one run: time, memory, start, disk, and how far apart stems are.

Each engine separates the same song through the installed command, one child with one thread, in
turns. Memory is the largest sum of PSS over the whole process tree. The start is from a child's
birth to the loaded engine, with its libraries in memory (fork server) or not (spawn). The disk is
what the distributions take that the engine needs and stemsplit without an engine does not. Run it
with `python benchmarks/engines.py [--seconds 300] [--rounds 3] [--engines onnx] [--long 3600]`.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from common import (
    COMMAND,
    Measured,
    environment,
    forget,
    measure,
    ready_launcher,
    start_methods,
    task_of,
    write_song,
)
from packaging.requirements import Requirement

from stemsplit.core.limits import Resources
from stemsplit.core.messages import Ready
from stemsplit.core.settings import Settings
from stemsplit.models.engines import ENGINES, installed
from stemsplit.models.forms import weights_of
from stemsplit.supervisor.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.supervisor.launcher import StartMethod

MEBIBYTE = 2**20


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="length of the song")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--long", type=float, help="length of one more song, for memory alone")
    options = parser.parse_args()
    print(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        song = folder / "song.wav"
        write_song(song, options.seconds)
        engines = tuple(engine for engine in installed() if engine in options.engines)
        for engine in engines:  # converts the weights, and brings all files into memory
            _separate(engine, song, folder / "warm")
        runs: dict[str, list[Measured]] = {engine: [] for engine in engines}
        for _ in range(options.rounds):
            for engine in engines:
                runs[engine].append(_separate(engine, song, folder / engine))
        _print_runs(runs, options.seconds)
        print("\n| engine | start | s to the loaded engine, median of 5 |")
        print("|---|---|---|")
        for engine in engines:
            for method, seconds in _starts(engine, song, folder):
                print(f"| {engine} | {method} | {seconds:.2f} |", flush=True)
        if len(engines) > 1:
            print(f"\nlargest difference of any sample: {_apart(folder, engines):.1e}")
        if options.long:
            write_song(song, options.long)
            for engine in engines:
                ran = _separate(engine, song, folder / "long")
                told = f"{ran.peak_bytes / MEBIBYTE:,.0f} MiB at most"
                print(f"{engine}, {options.long:g} s: {told}, {ran.wall_seconds:.0f} s")


def _separate(engine: str, song: Path, output: Path) -> Measured:
    command: list[str | Path] = [COMMAND, "separate", song, "-o", output, "--engine", engine]
    command += ["--jobs", "1", "--threads", "1", "--bit-depth", "32f", "--overwrite", "--quiet"]
    return measure(command, song.parent)


def _print_runs(runs: dict[str, list[Measured]], seconds: float) -> None:
    reference = statistics.median(run.cpu_seconds for run in next(iter(runs.values())))
    print("| engine | wall, s | processor, s | of the first | peak, MiB | on disk, MB |")
    print("|---|---|---|---|---|---|")
    for engine, measured in runs.items():
        wall = statistics.median(run.wall_seconds for run in measured)
        used = statistics.median(run.cpu_seconds for run in measured)
        peak = max(run.peak_bytes for run in measured) / MEBIBYTE
        disk = _disk_bytes(ENGINES[engine].libraries) / 1e6
        print(
            f"| {engine} | {wall:.1f} | {used:.1f} | {used / reference:.2f} | {peak:,.0f} "
            f"| {disk:,.0f} |"
        )
    print(f"\n(a song of {seconds:g} s, {len(measured)} rounds, medians; the largest peak)")


def _starts(engine: str, song: Path, folder: Path) -> Iterator[tuple[StartMethod, float]]:
    settings = Settings(engine=engine)
    weights = weights_of(settings)
    if weights is None:
        raise RuntimeError("nothing is separated")
    for method in start_methods(settings):
        with ready_launcher(settings, method) as launcher:
            taken = []
            for _ in range(5):
                task = task_of(song, folder, settings, weights, Resources())
                began = time.monotonic()
                child = launcher.start(task)
                inbox = Inbox(child.pipe)
                while not any(isinstance(one, Ready) for one in inbox.take()):
                    time.sleep(0.005)
                taken.append(time.monotonic() - began)
                child.process.kill()
                child.process.join()
                forget(child, task)
        yield method, statistics.median(taken)


def _apart(folder: Path, engines: Sequence[str]) -> float:
    largest = 0.0
    for stem in sorted((folder / engines[0] / "song").iterdir()):
        blocks = [
            soundfile.blocks(folder / engine / "song" / stem.name, 2**20) for engine in engines
        ]
        for one, other in zip(*blocks, strict=True):
            largest = max(largest, float(np.max(np.abs(one - other))))
    return largest


def _disk_bytes(libraries: Sequence[str]) -> int:
    """Sum up what an engine's distributions take, without those that stemsplit needs anyway."""
    needed = _with_requirements(libraries) - _with_requirements(_always())
    return sum(_size(name) for name in needed)


def _always() -> list[str]:
    engines = {library for engine in ENGINES.values() for library in engine.libraries} | {"scipy"}
    wanted = [Requirement(text) for text in metadata.requires("stemsplit") or []]
    return [
        one.name for one in wanted if "extra" not in str(one.marker) and one.name not in engines
    ]


def _with_requirements(names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    left = [*names]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        wanted = map(Requirement, requires)
        left += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]
    return found


def _size(name: str) -> int:
    files = metadata.files(name) or []
    paths = {os.path.realpath(file.locate()) for file in files}
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))  # noqa: PTH113, PTH202


if __name__ == "__main__":
    main()
