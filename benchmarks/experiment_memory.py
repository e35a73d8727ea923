"""How much memory does Spleeter use for ten songs in one process, and do the usual remedies help?

    python benchmarks/experiment_memory.py [--output docs/pictures]

One process separates ten songs of one minute (the fifth: two minutes) with Spleeter's
`Separator.separate_to_file`, unmodified and with each remedy that people recommend, applied after
each song. Then `stemsplit separate` does the same. The script prints the memory after each song,
the peak, and the time. Memory that grows with every song is a leak; memory that follows the longest
song so far is a high-water mark.

Figures of Spleeter are the RSS of its process, and times without its imports. Figures of stemsplit
are the PSS of its process tree, and the time of its first song includes the start. Requires Linux,
ffmpeg (for Spleeter) and the extra `benchmarks`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from common import (
    COMMAND,
    environment,
    fetch_weights,
    print_line,
    tree_memory_bytes,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (60, 60, 60, 60, 120, 60, 60, 60, 60, 60)
UNMODIFIED, NEW_SEPARATOR, STEMSPLIT = "unmodified", "a new Separator per song", "stemsplit"
VARIANTS = (UNMODIFIED, "clear_session()", "gc.collect()", "malloc_trim()", NEW_SEPARATOR)
_LINE_PREFIX = "song done: "


def main() -> None:
    """Print the table and draw the chart; with `--worker`, run as the measured process."""
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], Path(sys.argv[3]), [Path(song) for song in sys.argv[4:]])
        return
    from separation import parse_output_folder

    output = parse_output_folder(__doc__)
    fetch_weights()
    print_line(f"{environment()}\n")
    measurements: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        songs = write_library(Path(name) / "library", LENGTHS)
        numbers = " | ".join(str(number) for number in range(1, len(LENGTHS) + 1))
        print_line(f"| MiB after song | {numbers} | peak | total s |")
        print_line("|" + "---|" * (len(LENGTHS) + 3))
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--worker", variant, name, *map(str, songs)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.startswith(_LINE_PREFIX)]
            measurements[variant] = [json.loads(line.removeprefix(_LINE_PREFIX)) for line in lines]
            _row(variant, measurements[variant])
        measurements[STEMSPLIT] = _stemsplit(songs, Path(name))
        _row(STEMSPLIT, measurements[STEMSPLIT])
    first, *rest = [song["seconds"] for song in measurements[UNMODIFIED]]
    same = [taken for taken, length in zip(rest, LENGTHS[1:], strict=True) if length == LENGTHS[0]]
    print_line(
        f"\nSpleeter, unmodified: {first:.1f} s for the first song, {min(same):.1f} to "
        f"{max(same):.1f} s for the others of its length, in order: "
        + ", ".join(f"{taken:.1f}" for taken in same)
    )
    _draw(measurements, output / "experiment_memory.png")


def _row(variant: str, songs: list[dict[str, float]]) -> None:
    sizes = " | ".join(f"{song['after'] / 2**20:,.0f}" for song in songs)
    peak = max(song["peak"] for song in songs) / 2**20
    seconds = sum(song["seconds"] for song in songs)
    print_line(f"| {variant} | {sizes} | {peak:,.0f} | {seconds:.0f} |")


def worker(variant: str, folder: Path, songs: list[Path]) -> None:
    """Separate songs one after another; print the memory and time of each as JSON."""
    os.environ["MODEL_PATH"] = str(fetch_weights())
    import tensorflow as tf
    from spleeter.separator import Separator

    remedies: dict[str, Callable[[], object]] = {
        "clear_session()": tf.keras.backend.clear_session,
        "gc.collect()": gc.collect,
        "malloc_trim()": lambda: ctypes.CDLL("libc.so.6").malloc_trim(0),
    }
    remedy = remedies.get(variant, lambda: None)
    separator = Separator("spleeter:2stems", multiprocess=False)
    process = psutil.Process()
    for song in songs:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc(5))
        began = time.monotonic()
        if variant == NEW_SEPARATOR:
            separator = Separator("spleeter:2stems", multiprocess=False)
        separator.separate_to_file(str(song), str(folder / "out"))
        remedy()
        seconds = time.monotonic() - began
        rss = process.memory_info().rss
        measured = {"after": rss, "peak": _peak_bytes(), "seconds": seconds}
        print(_LINE_PREFIX + json.dumps(measured), flush=True)


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status does not contain VmHWM")


def _stemsplit(songs: list[Path], folder: Path) -> list[dict[str, float]]:
    """Separate songs with the command, and measure its process tree (PSS)."""
    command = [str(COMMAND), "separate", *map(str, songs), "-o", str(folder / "ours")]
    measurements: list[dict[str, float]] = []
    peak, began = 0, time.monotonic()
    with subprocess.Popen(
        [*command, "--jobs", "1", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None:
            raise RuntimeError("no output")
        os.set_blocking(process.stdout.fileno(), False)
        ended = False
        while not ended:
            ended = process.poll() is not None  # reads the remaining output below
            used, _ = tree_memory_bytes(process.pid)
            peak = max(peak, used)
            for line in process.stdout.readlines():
                if json.loads(line)["type"] == "track_done":
                    now = time.monotonic()
                    after = tree_memory_bytes(process.pid)[0]
                    measurements.append({"after": after, "peak": peak, "seconds": now - began})
                    peak, began = 0, now
            time.sleep(0.02)
    if len(measurements) != len(songs):
        raise RuntimeError(f"stemsplit separated {len(measurements)} of {len(songs)} songs")
    return measurements


def _draw(measurements: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib.pyplot as plt
    from plots import ACCENT, INK, OTHER, PALE, save

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
    colours = (INK, "#7a9cc6", PALE, "#555555", OTHER, ACCENT)
    numbers = range(1, len(LENGTHS) + 1)
    for (name, songs), colour in zip(measurements.items(), colours, strict=True):
        left.plot(numbers, [song["after"] / 2**30 for song in songs], "o-", ms=3, lw=1.2,
                  color=colour, label=name)  # fmt: skip
    left.set_xlabel("after song (the fifth is twice as long)")
    left.set_ylabel("RSS, stemsplit: PSS of all processes; GiB")
    left.set_ylim(0)
    left.legend(fontsize=8)
    for name, colour, shift in ((UNMODIFIED, INK, -0.2), (STEMSPLIT, ACCENT, 0.2)):
        values = [
            song["seconds"] / length
            for song, length in zip(measurements[name], LENGTHS, strict=True)
        ]
        label = "Spleeter, unmodified" if name == UNMODIFIED else name
        right.bar([number + shift for number in numbers], values, 0.36, color=colour, label=label)
    right.set_xlabel("song")
    right.set_ylabel("s per second of audio")
    right.set_xticks(numbers)
    right.legend(fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    main()
