"""Measure the cost of a separate process per file, with many short clips.

    python benchmarks/isolation.py [--clips 100] [--seconds 5] [--fresh 5]

Separates the same clips with `stemsplit separate` with one child at a time, and in one process that
loads the network once and otherwise does the work of a child. The difference is the cost of
isolation: start, graph and weights, exit, exit diagnosis, journal, publishing. For comparison, the
script also measures a separate `spleeter separate` per clip.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import (
    COMMAND,
    StubSupervisor,
    environment,
    fetch_weights,
    make_task,
    measure,
    print_line,
    run_spleeter,
    write_song,
)

from stemsplit.supervisor.host_resources import processors


def main() -> None:
    """Print the table; with `--worker`, run as the single process."""
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), [Path(clip) for clip in sys.argv[3:]])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--fresh", type=int, default=5, help="clips for Spleeter, one process each")
    options = parser.parse_args()
    fetch_weights()
    print_line(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        clips = [folder / "clips" / f"{number:03}.wav" for number in range(options.clips)]
        clips[0].parent.mkdir()
        for number, clip in enumerate(clips):
            write_song(clip, options.seconds, first_seed=number)
        ours: list[str | Path] = [COMMAND, "separate", "--quiet", "--jobs", "1", "-o"]
        bare: list[str | Path] = [sys.executable, __file__, "--worker", folder]
        isolated = _per_clip([*ours, "all"], [*ours, "first"], clips, folder)
        plain = _per_clip(bare, bare, clips, folder)
        fresh = [
            run_spleeter([clip], folder / "theirs", options.seconds)
            for clip in clips[: options.fresh]
        ]
    theirs = sum(usage.wall_seconds for usage in fresh) / len(fresh)
    print_line(f"{options.clips} clips of {options.seconds:g} s\n")
    print_line("| | s per clip |")
    print_line("|---|---|")
    print_line(f"| stemsplit, one child per clip | {isolated:.3f} |")
    print_line(f"| the same work in one process | {plain:.3f} |")
    print_line(f"| isolation | {isolated - plain:.3f} |")
    print_line(f"| spleeter, one process per clip | {theirs:.1f} |")


def _per_clip(
    command_for_all: list[str | Path],
    command_for_one: list[str | Path],
    clips: list[Path],
    folder: Path,
) -> float:
    """Return the time per clip, without the start and the end of the batch."""
    one = measure([*command_for_one, clips[0]], folder)
    whole = measure([*command_for_all, *clips], folder)
    return (whole.wall_seconds - one.wall_seconds) / (len(clips) - 1)


def worker(folder: Path, clips: list[Path]) -> None:
    """Separate clips like a child does, but in this process, and load the network once."""
    from stemsplit.child import job_runner
    from stemsplit.child.engines import tensorflow
    from stemsplit.core.limits import Resources
    from stemsplit.core.settings import Settings
    from stemsplit.models.catalogue import find_model
    from stemsplit.models.download import ensure

    tensorflow.load = functools.cache(tensorflow.load)
    stub: Any = StubSupervisor()
    weights = ensure(find_model("2stems").weights)
    for clip in clips:
        clip_folder = folder / "bare" / f"{clip.stem} {time.monotonic_ns()}"
        task = make_task(clip, clip_folder, Settings(), weights, Resources(threads=processors()))
        job_runner.run_job(stub, stub, task)


if __name__ == "__main__":
    main()
