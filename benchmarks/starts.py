"""Measure start-up time: of the package, of commands, and of the next file of a batch.

Run with `python benchmarks/starts.py [--files 6]`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import COMMAND, environment, write_song


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=6)
    options = parser.parse_args()
    print(f"{environment()}\n")
    print("| in a new interpreter | ms, median of 11 | without the interpreter |")
    print("|---|---|---|")
    interpreter = _interpreter_ms("pass")
    for statement in ("import stemsplit", "import stemsplit.batch.api"):
        taken = _interpreter_ms(statement)
        print(f"| `{statement}` | {taken:.0f} | {taken - interpreter:.0f} |")
    print("\n| command | s, median of 11 |")
    print("|---|---|")
    for line, taken in _command_seconds().items():
        print(f"| `{line}` | {taken:.2f} |")
    print("\n| from the end of one file | s, median | s, maximum |")
    print("|---|---|---|")
    for what, gaps in _gaps(options.files).items():
        print(f"| {what} | {statistics.median(gaps):.2f} | {max(gaps):.2f} |")


def _interpreter_ms(statement: str) -> float:
    program = (
        f"import subprocess, sys, time\n"
        f"began = time.perf_counter()\n"
        f"subprocess.run([sys.executable, '-c', {statement!r}], check=True)\n"
        f"print(1000 * (time.perf_counter() - began))"
    )
    runs = [
        float(
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout
        )
        for _ in range(11)
    ]
    return statistics.median(runs)


def _command_seconds() -> dict[str, float]:
    """Return the median times of commands that separate nothing."""
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        (folder / "songs").mkdir()
        for number in range(10):
            write_song(folder / "songs" / f"song{number}.wav", 1, first_seed=number)
        batch = ["separate", "songs", "-o", "stems"]
        subprocess.run([COMMAND, *batch, "--quiet"], cwd=folder, check=True)
        lines = [
            ["--version"],
            ["--help"],
            ["completion", "bash"],
            ["separate", "--help"],
            ["status", "stems"],
            batch,
        ]
        return {
            f"stemsplit {' '.join(line)}": statistics.median(
                _seconds([COMMAND, *line], folder) for _ in range(11)
            )
            for line in lines
        }


def _seconds(command: list[str | Path], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def _gaps(files: int) -> dict[str, list[float]]:
    """Return the gaps between the events of one batch, by their `time`."""
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        for number in range(files):
            write_song(folder / f"song{number}.wav", 20, first_seed=number)
        command: list[str | Path] = [COMMAND, "separate", folder, "-o", folder / "out", "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    ended: float | None = None
    separated = False
    gaps: dict[str, list[float]] = {
        "until the next child has opened its file": [],
        "until its first segment is written": [],
    }
    started, first = gaps.values()
    for event in map(json.loads, done.stdout.splitlines()):
        if event["type"] == "track_done":
            ended = event["time"]
        elif ended is not None and event["type"] == "track_started":
            started.append(event["time"] - ended)
            separated = False
        elif ended is not None and event["type"] == "track_progress" and not separated:
            first.append(event["time"] - ended)
            separated = True
    return gaps


if __name__ == "__main__":
    main()
