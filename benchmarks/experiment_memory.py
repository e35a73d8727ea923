"""How much memory does Spleeter take over ten songs in one process, and does anything help?

    python benchmarks/experiment_memory.py [--output docs/pictures]

One process separates ten songs of a minute, but the fifth of two minutes, one after the other by
Spleeter's `Separator.separate_to_file`: as it is, and with each of the remedies that people advise
after each song. Then `stemsplit separate` does the same. Told is the memory of the process after
each song (RSS), its peak, and how long each song took. If memory grows with every song it leaks; if
it follows the longest song so far it is a high-water mark.

Spleeter's figures are those of its process (RSS), its time that of the songs without its imports;
stemsplit's are those of its whole process tree (PSS), and its first song bears the start. Needs
Linux, ffmpeg, which Spleeter runs, and the extra `benchmarks`.
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
    tell,
    tree_memory_bytes,
    weights_folder,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (60, 60, 60, 60, 120, 60, 60, 60, 60, 60)
AS_IT_IS, NEW, STEMSPLIT = "as it is", "a new Separator for each song", "stemsplit"
TREATMENTS = (AS_IT_IS, "clear_session()", "gc.collect()", "malloc_trim()", NEW)
_MARK = "song done: "


def main() -> None:
    """Print the tables and draw the picture, or be the process that is looked at."""
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], Path(sys.argv[3]), [Path(song) for song in sys.argv[4:]])
        return
    from separation import output_folder

    output = output_folder(__doc__)
    weights_folder()
    tell(f"{environment()}\n")
    told: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        songs = write_library(Path(name) / "library", LENGTHS)
        numbers = " | ".join(str(number) for number in range(1, len(LENGTHS) + 1))
        tell(f"| MiB after song | {numbers} | peak | s in all |")
        tell("|" + "---|" * (len(LENGTHS) + 3))
        for treatment in TREATMENTS:
            command = [sys.executable, __file__, "--worker", treatment, name, *map(str, songs)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
            told[treatment] = [json.loads(line.removeprefix(_MARK)) for line in lines]
            _row(treatment, told[treatment])
        told[STEMSPLIT] = _stemsplit(songs, Path(name))
        _row(STEMSPLIT, told[STEMSPLIT])
    first, rest = told[AS_IT_IS][0]["seconds"], [one["seconds"] for one in told[AS_IT_IS][1:]]
    same = [taken for taken, length in zip(rest, LENGTHS[1:], strict=True) if length == LENGTHS[0]]
    tell(f"\nSpleeter as it is: the first song took {first:.1f} s, the others of that length "
         f"{min(same):.1f} to {max(same):.1f} s, in order: "
         + ", ".join(f"{taken:.1f}" for taken in same))  # fmt: skip
    _draw(told, output / "experiment_memory.png")


def _row(treatment: str, songs: list[dict[str, float]]) -> None:
    sizes = " | ".join(f"{song['after'] / 2**20:,.0f}" for song in songs)
    peak = max(song["peak"] for song in songs) / 2**20
    seconds = sum(song["seconds"] for song in songs)
    tell(f"| {treatment} | {sizes} | {peak:,.0f} | {seconds:.0f} |")


def worker(treatment: str, folder: Path, songs: list[Path]) -> None:
    """Separate songs one after the other, and tell of each what it took."""
    os.environ["MODEL_PATH"] = str(weights_folder())
    import tensorflow as tf
    from spleeter.separator import Separator

    remedies: dict[str, Callable[[], object]] = {
        "clear_session()": tf.keras.backend.clear_session,
        "gc.collect()": gc.collect,
        "malloc_trim()": lambda: ctypes.CDLL("libc.so.6").malloc_trim(0),
    }
    remedy = remedies.get(treatment, lambda: None)
    separator = Separator("spleeter:2stems", multiprocess=False)
    this = psutil.Process()
    for song in songs:
        Path("/proc/self/clear_refs").write_text("5")  # begins a new peak (proc(5))
        began = time.monotonic()
        if treatment == NEW:
            separator = Separator("spleeter:2stems", multiprocess=False)
        separator.separate_to_file(str(song), str(folder / "out"))
        remedy()
        seconds = time.monotonic() - began
        told = {"after": this.memory_info().rss, "peak": _peak_bytes(), "seconds": seconds}
        print(_MARK + json.dumps(told), flush=True)


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system does not tell the peak")


def _stemsplit(songs: list[Path], folder: Path) -> list[dict[str, float]]:
    """Let the command do it, and look at its whole process tree (PSS)."""
    command = [str(COMMAND), "separate", *map(str, songs), "-o", str(folder / "ours")]
    told: list[dict[str, float]] = []
    peak, began = 0, time.monotonic()
    with subprocess.Popen(
        [*command, "--jobs", "1", "--json"], stdout=subprocess.PIPE, text=True
    ) as running:
        if running.stdout is None:
            raise RuntimeError("no output")
        os.set_blocking(running.stdout.fileno(), False)
        ended = False
        while not ended:
            ended = running.poll() is not None  # and then read what it said last
            used, _ = tree_memory_bytes(running.pid)
            peak = max(peak, used)
            for line in running.stdout.readlines():
                if json.loads(line)["type"] == "track_done":
                    now = time.monotonic()
                    after = tree_memory_bytes(running.pid)[0]
                    told.append({"after": after, "peak": peak, "seconds": now - began})
                    peak, began = 0, now
            time.sleep(0.02)
    if len(told) != len(songs):
        raise RuntimeError(f"stemsplit separated {len(told)} of {len(songs)} songs")
    return told


def _draw(told: dict[str, list[dict[str, float]]], path: Path) -> None:
    import matplotlib.pyplot as plt
    from plots import ACCENT, INK, OTHER, PALE, save

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.4), layout="constrained")
    colours = (INK, "#7a9cc6", PALE, "#555555", OTHER, ACCENT)
    numbers = range(1, len(LENGTHS) + 1)
    for (name, songs), colour in zip(told.items(), colours, strict=True):
        left.plot(numbers, [song["after"] / 2**30 for song in songs], "o-", ms=3, lw=1.2,
                  color=colour, label=name)  # fmt: skip
    left.set_xlabel("after song; the fifth is twice as long")
    left.set_ylabel("GiB: RSS; stemsplit: PSS of all")
    left.set_ylim(0)
    left.legend(fontsize=8)
    for name, colour, shift in ((AS_IT_IS, INK, -0.2), (STEMSPLIT, ACCENT, 0.2)):
        values = [song["seconds"] / one for song, one in zip(told[name], LENGTHS, strict=True)]
        label = "Spleeter as it is" if name == AS_IT_IS else name
        right.bar([number + shift for number in numbers], values, 0.36, color=colour, label=label)
    right.set_xlabel("song")
    right.set_ylabel("s a second of audio")
    right.set_xticks(numbers)
    right.legend(fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    main()
