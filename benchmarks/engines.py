"""Compare the engines in one run: time, memory, start-up, disk space, and difference of the stems.

Each engine separates the same song with the installed command, one child with one thread; each
round runs all engines. Memory is the peak of the sum of PSS over the whole process tree. Start-up
time is from the start of a child to the loaded engine, with preloaded libraries (fork server) or
without (spawn). Disk space is that of the distributions that the engine adds to stemsplit. Run with
`python benchmarks/engines.py [--seconds 300] [--rounds 3] [--engines onnx] [--long 3600]`.
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
    Usage,
    clean_up,
    environment,
    make_task,
    measure,
    ready_launcher,
    start_methods,
    write_song,
)
from packaging.requirements import Requirement

from stemsplit.core.limits import Resources
from stemsplit.core.messages import Ready
from stemsplit.core.settings import Settings
from stemsplit.models.engines import ENGINES, installed
from stemsplit.models.weight_forms import ensure_weights
from stemsplit.supervisor.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.supervisor.launcher import StartMethod

MEBIBYTE = 2**20


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="duration of the song")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--long", type=float, help="duration of a second song, to measure memory")
    options = parser.parse_args()
    print(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        song = folder / "song.wav"
        write_song(song, options.seconds)
        engines = tuple(engine for engine in installed() if engine in options.engines)
        for engine in engines:  # converts the weights and fills the page cache
            _separate(engine, song, folder / "warm")
        runs: dict[str, list[Usage]] = {engine: [] for engine in engines}
        for _ in range(options.rounds):
            for engine in engines:
                runs[engine].append(_separate(engine, song, folder / engine))
        _print_runs(runs, options.seconds)
        print("\n| engine | a child is started by | from its start to the loaded engine, s |")
        print("|---|---|---|")
        for engine in engines:
            for method, seconds in _starts(engine, song, folder):
                print(f"| {engine} | {method} | {seconds:.2f} |", flush=True)
        if len(engines) > 1:
            print(f"\nlargest difference of the stems: {_largest_difference(folder, engines):.1e}")
        if options.long:
            write_song(song, options.long)
            for engine in engines:
                usage = _separate(engine, song, folder / "long")
                peak = f"peak {usage.peak_bytes / MEBIBYTE:,.0f} MiB"
                print(f"{engine}, song of {options.long:g} s: {peak}, {usage.wall_seconds:.0f} s")


def _separate(engine: str, song: Path, output: Path) -> Usage:
    command: list[str | Path] = [COMMAND, "separate", song, "-o", output, "--engine", engine]
    command += ["--jobs", "1", "--threads", "1", "--bit-depth", "32f", "--overwrite", "--quiet"]
    return measure(command, song.parent)


def _print_runs(runs: dict[str, list[Usage]], seconds: float) -> None:
    reference = statistics.median(run.cpu_seconds for run in next(iter(runs.values())))
    print(
        "| engine | wall, s | CPU, s | ratio to the first | peak of all processes (PSS), MiB "
        "| on disk, its own packages, MB |"
    )
    print("|---|---|---|---|---|---|")
    for engine, usages in runs.items():
        wall = statistics.median(usage.wall_seconds for usage in usages)
        used = statistics.median(usage.cpu_seconds for usage in usages)
        peak = max(usage.peak_bytes for usage in usages) / MEBIBYTE
        disk = _disk_bytes(ENGINES[engine].libraries) / 1e6
        print(
            f"| {engine} | {wall:.1f} | {used:.1f} | {used / reference:.2f} | {peak:,.0f} "
            f"| {disk:,.0f} |"
        )
    print(f"\n(song of {seconds:g} s, {len(usages)} rounds; medians, largest peak)")


def _starts(engine: str, song: Path, folder: Path) -> Iterator[tuple[StartMethod, float]]:
    settings = Settings(engine=engine)
    weights = ensure_weights(settings)
    if weights is None:
        raise RuntimeError("these settings need no weights")
    for method in start_methods(settings):
        with ready_launcher(settings, method) as launcher:
            durations = []
            for _ in range(5):
                task = make_task(song, folder, settings, weights, Resources())
                began = time.monotonic()
                child = launcher.start(task)
                inbox = Inbox(child.pipe)
                while not any(isinstance(message, Ready) for message in inbox.receive()):
                    time.sleep(0.005)
                durations.append(time.monotonic() - began)
                child.process.kill()
                child.process.join()
                clean_up(child, task)
        yield method, statistics.median(durations)


def _largest_difference(folder: Path, engines: Sequence[str]) -> float:
    largest = 0.0
    for stem in sorted((folder / engines[0] / "song").iterdir()):
        blocks = [
            soundfile.blocks(folder / engine / "song" / stem.name, 2**20) for engine in engines
        ]
        for first, second in zip(*blocks, strict=True):
            largest = max(largest, float(np.max(np.abs(first - second))))
    return largest


def _disk_bytes(libraries: Sequence[str]) -> int:
    """Return the size of the distributions that an engine adds to those of stemsplit."""
    added = _with_requirements(libraries) - _with_requirements(_requirements_without_engines())
    return sum(_size(name) for name in added)


def _requirements_without_engines() -> list[str]:
    engines = {library for engine in ENGINES.values() for library in engine.libraries} | {"scipy"}
    requirements = [Requirement(text) for text in metadata.requires("stemsplit") or []]
    return [
        requirement.name
        for requirement in requirements
        if "extra" not in str(requirement.marker) and requirement.name not in engines
    ]


def _with_requirements(names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    pending = [*names]
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name in found:
            continue
        try:
            requirements = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        pending += [
            requirement.name
            for requirement in requirements
            if not requirement.marker or requirement.marker.evaluate({"extra": ""})
        ]
    return found


def _size(name: str) -> int:
    files = metadata.files(name) or []
    paths = {os.path.realpath(file.locate()) for file in files}
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))  # noqa: PTH113, PTH202


if __name__ == "__main__":
    main()
