"""What a process of its own costs a file: many short clips, isolated and not.

    python benchmarks/isolation.py [--clips 100] [--seconds 5] [--fresh 5]

The same clips are separated by `stemsplit separate` with one child, and one after the other in one
process that loads the network once and does with each what a child does. The difference is what
isolation costs: start, graph and weights, exit, verdict, journal, publication. Beside it stands
what a fresh `spleeter separate` takes for such a clip.
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
    Nobody,
    environment,
    measure,
    spleeter,
    task_of,
    tell,
    weights_folder,
    write_song,
)

from stemsplit.supervisor.host import processors


def main() -> None:
    """Print the table, or be the one process."""
    if sys.argv[1:2] == ["--worker"]:
        worker(Path(sys.argv[2]), [Path(clip) for clip in sys.argv[3:]])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--fresh", type=int, default=5, help="clips for a fresh Spleeter each")
    options = parser.parse_args()
    weights_folder()
    tell(f"{environment()}\n")
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
            spleeter([clip], folder / "theirs", options.seconds) for clip in clips[: options.fresh]
        ]
    theirs = sum(one.wall_seconds for one in fresh) / len(fresh)
    tell(f"{options.clips} clips of {options.seconds:g} s\n")
    tell("| | s a clip |")
    tell("|---|---|")
    tell(f"| stemsplit, a child a clip | {isolated:.3f} |")
    tell(f"| the same in one process | {plain:.3f} |")
    tell(f"| isolation | {isolated - plain:.3f} |")
    tell(f"| a fresh Spleeter | {theirs:.1f} |")


def _per_clip(
    to_do_all: list[str | Path], to_do_one: list[str | Path], clips: list[Path], folder: Path
) -> float:
    """Give the seconds of each clip after the first: what starts and ends a batch is not theirs."""
    one = measure([*to_do_one, clips[0]], folder)
    whole = measure([*to_do_all, *clips], folder)
    return (whole.wall_seconds - one.wall_seconds) / (len(clips) - 1)


def worker(folder: Path, clips: list[Path]) -> None:
    """Do with each clip what a child does, in this process, with the network loaded once."""
    from stemsplit.child import job_runner
    from stemsplit.child.engines import tensorflow
    from stemsplit.core.limits import Resources
    from stemsplit.core.settings import Settings
    from stemsplit.models.catalogue import find
    from stemsplit.models.fetch import ensure

    tensorflow.load = functools.cache(tensorflow.load)
    nobody: Any = Nobody()
    weights = ensure(find("2stems").weights)
    for clip in clips:
        place = folder / "bare" / f"{clip.stem} {time.monotonic_ns()}"
        task = task_of(clip, place, Settings(), weights, Resources(threads=processors()))
        job_runner.work_on(nobody, nobody, task)


if __name__ == "__main__":
    main()
