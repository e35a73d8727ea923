"""Memory of one child by model, resources and start method: the data behind `prediction.py`.

For each combination, a child separates a song of 40 s. The script samples the process tree 20 times
per second: the memory before the child starts, and the peaks of the child's private memory (USS),
PSS and RSS. Models without weights on this machine get random weights. Run with `python
benchmarks/footprint.py [--models 2stems 4stems 5stems] [--engine onnx]`. With `--whole 20 80 160`,
the child separates songs of these durations in seconds as whole files, as with `--mwf`; with
`--conversion`, it converts a song.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from common import clean_up, environment, make_task, ready_launcher, start_methods, write_song

from stemsplit.core.limits import Resources
from stemsplit.core.settings import LOADERS, Settings
from stemsplit.models import published
from stemsplit.models.catalogue import find_model
from stemsplit.models.converted import ensure_converted
from stemsplit.models.weight_forms import ensure_weights
from stemsplit.supervisor.inbox import Inbox
from stemsplit.supervisor.prediction import SUPERVISOR_BYTES
from stemsplit.supervisor.process_tree import SystemMeter

if TYPE_CHECKING:
    from stemsplit.core.messages import Message
    from stemsplit.supervisor.launcher import Launcher

MEBIBYTE = 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["2stems", "4stems", "5stems"])
    parser.add_argument("--whole", nargs="+", type=float, metavar="SECONDS")
    parser.add_argument("--engine", choices=LOADERS, default="tensorflow")
    parser.add_argument("--conversion", action="store_true")
    options = parser.parse_args()
    print(f"{environment()}\n")
    print("| model | start method | resources | before, MiB | private | PSS | RSS | tree | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        if options.conversion:
            _conversion(folder)
        elif options.whole:
            for model in options.models:
                _whole_files(folder, model, options.whole)
        else:
            _by_segments(folder, options.models, options.engine)


def _by_segments(folder: Path, models: list[str], engine: str) -> None:
    write_song(folder / "song.wav", 40)
    for model in models:
        settings = Settings(model=model, engine=engine)
        methods = start_methods(settings)
        weights = _weights(settings, folder)
        for method in methods if model == models[0] else methods[:1]:
            with ready_launcher(settings, method) as launcher:
                for lean in (False, True):
                    for threads in (1, 2):
                        resources = Resources(threads=threads, lean=lean)
                        row = _measure(launcher, settings, weights, resources, folder)
                        print(f"| {model} | {method} | {resources} | {row} |", flush=True)


def _whole_files(folder: Path, model: str, lengths: list[float]) -> None:
    settings = Settings(model=model, engine="tensorflow", mwf=True)
    weights = _weights(settings, folder)
    with ready_launcher(settings, "forkserver") as launcher:
        for seconds in lengths:
            write_song(folder / "song.wav", seconds)
            row = _measure(launcher, settings, weights, Resources(threads=2), folder)
            print(
                f"| {model}, whole file, {seconds:g} s | forkserver | 2 threads | {row} |",
                flush=True,
            )


def _conversion(folder: Path) -> None:
    write_song(folder / "song.wav", 600)
    settings = Settings(what="conversion", sample_rate=48_000, bit_depth="16")
    for method in start_methods(settings):
        with ready_launcher(settings, method) as launcher:
            row = _measure(launcher, settings, folder, Resources(), folder)
            print(f"| conversion | {method} | 1 thread | {row} |", flush=True)


def _weights(settings: Settings, folder: Path) -> Path:
    """Return the folder of the model's weights; create random ones if there are none."""
    model = find_model(settings.model)
    if published.is_present(model.weights):
        return ensure_weights(settings) or folder
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "shared"))
    from checkpoints import write_random_weights

    weights = write_random_weights(model.name, folder, seed=1)
    if settings.engine == "onnx":
        os.environ["STEMSPLIT_MODELS"] = str(folder)
        weights = ensure_converted(model, weights)
        del os.environ["STEMSPLIT_MODELS"]
    return weights


def _measure(
    launcher: Launcher, settings: Settings, weights: Path, resources: Resources, folder: Path
) -> str:
    task = make_task(folder / "song.wav", folder, settings, weights, resources)
    meter = SystemMeter()
    before = meter.sample([], exact=True).total.pss_bytes or 0
    # The memory that the meter counts for a program that uses the library.
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
        messages += inbox.receive()
        time.sleep(0.05)
    seconds = time.monotonic() - began
    messages += inbox.receive()
    if child.process.exitcode != 0:
        raise RuntimeError(f"the child failed: {messages[-1]}")
    clean_up(child, task)
    sizes = (before - ours, private, pss, rss, tree)
    return " | ".join([*(f"{size / MEBIBYTE:,.0f}" for size in sizes), f"{seconds:.1f}"])


if __name__ == "__main__":
    main()
