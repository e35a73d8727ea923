"""Where the time of a child goes, step by step; and the network's speed against a matrix product.

    python benchmarks/steps.py [FILE]

One track is separated in this process as a child does it, with one thread, each step timed by the
processor's clock. Beside it stands what the same core does in the product of two matrices in
single precision (OpenBLAS, by NumPy), of which a network of convolutions can reach at most all.
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
from common import Nobody, environment, task_of, tell, write_song

from stemsplit.audio.decode import Decoder
from stemsplit.audio.encode import StemWriter
from stemsplit.audio.stft import OverlapAdd, segment_count
from stemsplit.audio.transforms import ScipyTransform
from stemsplit.child import job_runner
from stemsplit.child.engines import tensorflow
from stemsplit.child.engines.tensorflow import engine as tensorflow_engine
from stemsplit.core.limits import Resources
from stemsplit.core.settings import Settings
from stemsplit.models.catalogue import find
from stemsplit.models.fetch import ensure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


FILTERS = (16, 32, 64, 128, 256, 512)
MATRIX = 2048


class Clock:
    """Adds up the processor time of steps; a step within a step counts for itself alone."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function, or the steps of a generator, that are timed."""

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it wraps
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
    """Count the floating-point operations of the U-Nets on a segment: two a product and sum."""
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
    """Measure a product of matrices; gives operations a second."""
    one = np.random.default_rng(0).random((MATRIX, MATRIX), np.float32)

    def once() -> float:
        began = time.process_time()
        np.matmul(one, one)
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
    weights = ensure(find("2stems").weights)
    clock = Clock()
    _time_all(clock)
    tell(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        if file is None:
            file = folder / "song.wav"
            write_song(file, 240)
        began = time.process_time()
        seconds = _separate(file, folder, weights)
        total = time.process_time() - began
    segments = segment_count(round(seconds * 44_100))
    clock.seconds["the rest: magnitudes, masking, pieces"] = total - sum(clock.seconds.values())
    tell(f"{file.name}, {seconds:.0f} s, {segments} segments, one thread\n")
    tell("| step | CPU, s | ms a segment | of all |")
    tell("|---|---|---|---|")
    for step, taken in clock.seconds.items():
        tell(f"| {step} | {taken:.2f} | {1000 * taken / segments:.1f} | {taken / total:.1%} |")
    tell(f"| all | {total:.2f} | {1000 * total / segments:.1f} | |")
    flops = max(before, matrix_flops())
    work = network_flop(1024, 2)
    reached = work * segments / clock.seconds[U_NETS]
    tell(f"\nU-Nets: {work / 1e9:.1f} GFLOP a segment, {reached / 1e9:.0f} GFLOP/s; product of "
         f"matrices: {flops / 1e9:.0f} GFLOP/s; share: {reached / flops:.0%}")  # fmt: skip


U_NETS = "U-Nets"


def _time_all(clock: Clock) -> None:
    places: list[tuple[Any, str, str]] = [
        (Decoder, "blocks", "decode"),
        (ScipyTransform, "forward", "STFT"),
        (tensorflow, "load", "start: graph and weights"),
        (tensorflow_engine, "ratio_masks", "ratio masks"),
        (ScipyTransform, "inverse", "inverse STFT"),
        (OverlapAdd, "add", "overlap-add"),
        (StemWriter, "write", "encode"),
        (StemWriter, "finish", "end: close, flush, read back"),
    ]
    engine: Any = tensorflow_engine.TensorFlowEngine
    for owner, name, step in (*places, (engine, "masks", U_NETS)):
        setattr(owner, name, clock.timed(step, getattr(owner, name)))


def _separate(file: Path, folder: Path, weights: Path) -> float:
    task = task_of(file, folder, Settings(), weights, Resources(threads=1))
    nobody: Any = Nobody()
    return float(job_runner.work_on(nobody, nobody, task).audio_seconds)


if __name__ == "__main__":
    main()
