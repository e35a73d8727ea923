"""Memory of one child by model, effort and start method: the table behind `prediction.py`.

For each kind a child separates a song of 40 s, and the process tree is read exactly 20 times a
second: what the fork server holds, and the child's largest private memory (USS), PSS and RSS.
Models without weights on this machine get random ones of the right shape. Run it with
`python benchmarks/footprint.py [--models 2stems 4stems 5stems]`; with `--whole 20 80 160` it takes
songs of so many seconds as a whole instead, as `--mwf` does, and with `--conversion` it converts
one.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from common import environment, task_of, write_song

from stemsplit.job import Effort, Settings
from stemsplit.models import store
from stemsplit.models.catalogue import find
from stemsplit.supervisor.inbox import Inbox
from stemsplit.supervisor.launch import Launcher, StartMethod
from stemsplit.supervisor.meter import SystemMeter
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.messages import Message

MEBIBYTE = 2**20
_RANDOM_WEIGHTS = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from references import write_random_weights
write_random_weights(sys.argv[2], Path(sys.argv[3]), 1)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["2stems", "4stems", "5stems"])
    parser.add_argument("--whole", nargs="+", type=float, metavar="SECONDS")
    parser.add_argument("--conversion", action="store_true")
    options = parser.parse_args()
    print(f"{environment()}\n")
    print("| model | start | effort | before, MiB | private | PSS | RSS | tree | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        if options.conversion:
            _conversion(folder)
        elif options.whole:
            for model in options.models:
                _whole(folder, model, options.whole)
        else:
            _by_segments(folder, options.models)


def _by_segments(folder: Path, models: list[str]) -> None:
    write_song(folder / "song.wav", 40)
    methods: tuple[StartMethod, ...] = ("forkserver", "spawn")
    for model in models:
        weights, settings = _weights(model, folder), Settings(model=model)
        for method in methods if model == models[0] else methods[:1]:
            with _ready(settings, method) as launcher:
                for lean in (False, True):
                    for threads in (1, 2):
                        effort = Effort(threads=threads, lean=lean)
                        row = _measure(launcher, settings, weights, effort, folder)
                        print(f"| {model} | {method} | {effort} | {row} |", flush=True)


def _whole(folder: Path, model: str, lengths: list[float]) -> None:
    weights, settings = _weights(model, folder), Settings(model=model, mwf=True)
    with _ready(settings, "forkserver") as launcher:
        for seconds in lengths:
            write_song(folder / "song.wav", seconds)
            row = _measure(launcher, settings, weights, Effort(threads=2), folder)
            print(f"| {model}, whole {seconds:g} s | forkserver | 2 threads | {row} |", flush=True)


def _conversion(folder: Path) -> None:
    write_song(folder / "song.wav", 600)
    settings = Settings(what="conversion", sample_rate=48_000, bit_depth="16")
    methods: tuple[StartMethod, ...] = ("forkserver", "spawn")
    for method in methods:
        with _ready(settings, method) as launcher:
            row = _measure(launcher, settings, folder, Effort(), folder)
            print(f"| conversion | {method} | 1 thread | {row} |", flush=True)


@contextlib.contextmanager
def _ready(settings: Settings, method: StartMethod) -> Iterator[Launcher]:
    engine = settings.loader.partition(":")[0]
    preload = ("stemsplit.child.main", *((engine,) if engine else ()))
    with Launcher(preload, start_method=method) as launcher:
        while not launcher.ready():
            time.sleep(0.1)
        yield launcher


def _weights(model: str, folder: Path) -> Path:
    weights = find(model).weights
    if store.is_present(weights):
        return store.verify(weights)
    references = Path(__file__).parents[1] / "tests" / "real"
    command: list[str | Path] = [sys.executable, "-c", _RANDOM_WEIGHTS, references, model, folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder / weights.name


def _measure(
    launcher: Launcher, settings: Settings, weights: Path, effort: Effort, folder: Path
) -> str:
    task = task_of(folder / "song.wav", folder, settings, weights, effort)
    meter = SystemMeter()
    before = meter.sample([], exact=True).total.pss_bytes or 0
    # As much as the meter counts of a program that uses the library.
    ours = min(psutil.Process().memory_full_info().uss, SUPERVISOR_BYTES)
    began = time.monotonic()
    child = launcher.start(task)
    inbox = Inbox(child.pipe)
    messages: list[Message] = []
    private = pss = rss = tree = 0
    while child.process.is_alive():
        sample = meter.sample([child.pid], exact=True)
        used = sample.trees.get(child.pid)
        if used is not None:
            private = max(private, used.private_bytes or 0)
            pss = max(pss, used.pss_bytes or 0)
            rss = max(rss, used.rss_bytes)
            tree = max(tree, (sample.total.pss_bytes or 0) - ours)
        messages += inbox.take()
        time.sleep(0.05)
    seconds = time.monotonic() - began
    messages += inbox.take()
    if child.process.exitcode != 0:
        raise RuntimeError(f"the child failed: {messages[-1]}")
    child.process.close()
    child.pipe.close()
    child.log_pipe.close()
    shutil.rmtree(task.work_path)
    sizes = (before - ours, private, pss, rss, tree)
    return " | ".join([*(f"{size / MEBIBYTE:,.0f}" for size in sizes), f"{seconds:.1f}"])


if __name__ == "__main__":
    main()
