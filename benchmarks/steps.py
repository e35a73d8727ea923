"""Measure the CPU time of each step of a child, and the speed of the network.

    python benchmarks/steps.py [FILE]

Separates one track in this process as a child does, with one thread, and measures the CPU time of
each step. Compares the speed of the network with that of a single-precision matrix product on the
same core (OpenBLAS, through NumPy), which is the upper limit for a network of convolutions.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import functools
import inspect
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import StubSupervisor, environment, make_task, print_line, write_song

from stemsplit.audio.decode import Decoder
from stemsplit.audio.fft import ScipyTransform
from stemsplit.audio.stem_writer import StemWriter
from stemsplit.audio.stft import OverlapAdd, segment_count
from stemsplit.child import job_runner
from stemsplit.child.engines import tensorflow
from stemsplit.child.engines.tensorflow import engine as tensorflow_engine
from stemsplit.core.limits import Resources
from stemsplit.core.settings import Settings
from stemsplit.models.catalogue import find_model
from stemsplit.models.download import ensure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


FILTERS = (16, 32, 64, 128, 256, 512)
MATRIX = 2048


class Clock:
    """Adds up the CPU time of steps; the time of a nested step counts for that step only."""

    def __init__(self) -> None:
        """Start with no steps."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function or generator function so that its CPU time counts for `step`."""

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - depends on the wrapped function
            return self._time(step, lambda: function(*arguments, **named))

        @functools.wraps(function)
        def generate(*arguments: Any, **named: Any) -> Iterator[Any]:  # noqa: ANN401 - likewise
            items = function(*arguments, **named)
            while (item := self._time(step, lambda: next(items, None))) is not None:
                yield item

        return generate if inspect.isgeneratorfunction(function) else run

    def _time(self, step: str, run: Callable[[], Any]) -> Any:  # noqa: ANN401 - likewise
        self._inner.append(0.0)
        began = time.process_time()
        try:
            return run()
        finally:
            taken = time.process_time() - began
            self.seconds[step] += taken - self._inner.pop()
            self._inner[-1] += taken


def network_flop(bins: int, stems: int) -> float:
    """Return the floating-point operations of the U-Nets per segment; a multiply-add is two."""
    cells = 512 * bins
    channels = (2, *FILTERS)
    down = sum(
        cells / 4 ** (depth + 1) * 25 * channels[depth] * channels[depth + 1]
        for depth in range(len(FILTERS))
    )
    up = sum(
        cells / 4 ** (depth + 1) * 25 * (2 if depth < len(FILTERS) - 1 else 1)
        * FILTERS[depth] * (FILTERS[depth - 1] if depth else 1)
        for depth in range(len(FILTERS))
    )  # fmt: skip
    return float(2 * stems * (down + up + cells * 16 * 2))


def matrix_flops() -> float:
    """Return the speed of a matrix product in operations per second."""
    matrix = np.random.default_rng(0).random((MATRIX, MATRIX), np.float32)

    def once() -> float:
        began = time.process_time()
        np.matmul(matrix, matrix)
        return time.process_time() - began

    return 2 * MATRIX**3 / min(once() for _ in range(8))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path)
    file = parser.parse_args().file
    before = matrix_flops()
    weights = ensure(find_model("2stems").weights)
    clock = Clock()
    _time_all(clock)
    print_line(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        if file is None:
            file = folder / "song.wav"
            write_song(file, 240)
        began = time.process_time()
        seconds = _separate(file, folder, weights)
        total = time.process_time() - began
    segments = segment_count(round(seconds * 44_100))
    clock.seconds["other: magnitudes, masking, blocks"] = total - sum(clock.seconds.values())
    print_line(f"{file.name}, {seconds:.0f} s, {segments} segments, one thread\n")
    print_line("| step | CPU, s | ms per segment | share |")
    print_line("|---|---|---|---|")
    for step, taken in clock.seconds.items():
        print_line(
            f"| {step} | {taken:.2f} | {1000 * taken / segments:.1f} | {taken / total:.1%} |"
        )
    print_line(f"| total | {total:.2f} | {1000 * total / segments:.1f} | |")
    flops = max(before, matrix_flops())
    flop = network_flop(1024, 2)
    reached = flop * segments / clock.seconds[U_NETS]
    print_line(
        f"\nU-Nets: {flop / 1e9:.1f} GFLOP per segment, {reached / 1e9:.0f} GFLOP/s; matrix "
        f"product: {flops / 1e9:.0f} GFLOP/s; ratio: {reached / flops:.0%}"
    )


U_NETS = "U-Nets"


def _time_all(clock: Clock) -> None:
    steps: list[tuple[Any, str, str]] = [
        (Decoder, "blocks", "decode"),
        (ScipyTransform, "forward", "STFT"),
        (tensorflow, "load", "load: graph and weights"),
        (tensorflow_engine, "ratio_masks", "ratio masks"),
        (ScipyTransform, "inverse", "inverse STFT"),
        (OverlapAdd, "add", "overlap-add"),
        (StemWriter, "write", "encode"),
        (StemWriter, "finish", "finish: close, flush, read back"),
    ]
    engine: Any = tensorflow_engine.TensorFlowEngine
    for owner, name, step in (*steps, (engine, "masks", U_NETS)):
        setattr(owner, name, clock.timed(step, getattr(owner, name)))


def _separate(file: Path, folder: Path, weights: Path) -> float:
    task = make_task(file, folder, Settings(), weights, Resources(threads=1))
    stub: Any = StubSupervisor()
    return float(job_runner.run_job(stub, stub, task).audio_seconds)


if __name__ == "__main__":
    main()
