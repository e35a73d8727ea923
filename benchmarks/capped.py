"""A batch under a small budget of memory against one under a roomy one: memory over time, and time.

Runs `stemsplit separate` on the same files with each budget. The memory of the whole process tree
(sum of PSS) is sampled ten times a second from outside, and so is the supervisor's own memory and
processor time. Prints a table, and the memory over time as a curve of text. Run it with
`python benchmarks/capped.py [--budgets 1GiB 1.2GiB 3GiB] [--library DIR | --files 20]`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from common import COMMAND, environment, tree_memory_bytes, write_song

from stemsplit.core.units import parse_size

MEBIBYTE = 2**20
_COLUMNS = 72
_ROWS = 12


@dataclass
class Run:
    """One batch, watched."""

    budget_bytes: int
    samples: list[tuple[float, int]] = field(default_factory=list)
    supervisor_bytes: list[int] = field(default_factory=list)
    supervisor_cpu_seconds: float = 0.0
    working_since: tuple[float, float] | None = None
    wall_seconds: float = 0.0
    events: list[dict[str, object]] = field(default_factory=list)

    @property
    def peak_bytes(self) -> int:
        """The largest sum of PSS."""
        return max(used for _, used in self.samples)


def main() -> None:
    """Print the table and the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", nargs="+", default=["1GiB", "1.2GiB", "3GiB"])
    parser.add_argument("--library", type=Path, help="a folder of music; made up if not given")
    parser.add_argument("--files", type=int, default=20)
    options = parser.parse_args()
    print(f"{environment()}\n")
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        library = options.library or folder / "library"
        if options.library is None:
            library.mkdir()
            for number in range(options.files):
                write_song(library / f"{number}.wav", 20 + 10 * (number % 6), first_seed=number)
        runs = {text: _run(text, library, folder) for text in options.budgets}
    print(
        "| budget | children | peak, MiB | of the budget | wall s | times real time "
        "| supervisor, MiB | its share of one core | retried | failed |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for text, run in runs.items():
        print(_row(text, run))
    for text, run in runs.items():
        print(f"\nMemory over time, --max-ram {text}:\n")
        print(_curve(run))


def _run(budget: str, library: Path, folder: Path) -> Run:
    run = Run(parse_size(budget, "budget").of(0))
    command: list[str | Path] = [
        COMMAND,
        "separate",
        library,
        "-o",
        folder / budget,
        "--json",
        "--max-ram",
        budget,
    ]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        stopping = threading.Event()
        watcher = threading.Thread(target=_watch, args=(running.pid, run, began, stopping))
        watcher.start()
        if running.stdout is not None:
            for line in running.stdout:
                run.events.append(json.loads(line))
                if run.working_since is None and run.events[-1]["type"] == "track_started":
                    run.working_since = (time.monotonic() - began, _cpu_seconds(running.pid))
        running.wait()
        stopping.set()
        watcher.join()
    run.wall_seconds = time.monotonic() - began
    return run


def _watch(pid: int, run: Run, began: float, stopping: threading.Event) -> None:
    supervisor = psutil.Process(pid)
    while not stopping.wait(0.1):
        try:
            used, _ = tree_memory_bytes(pid)
            run.supervisor_bytes.append(supervisor.memory_full_info().pss)
            run.supervisor_cpu_seconds = _cpu_seconds(pid)
        except psutil.Error:
            break
        if used:
            run.samples.append((time.monotonic() - began, used))


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _row(text: str, run: Run) -> str:
    last = run.events[-1]
    (started,) = [event for event in run.events if event["type"] == "pool_started"]
    retried = sum(event["type"] == "track_retried" for event in run.events)
    audio = float(str(last["audio_seconds"]))
    cells = (
        text,
        f"{started['jobs']} with {started['threads']} threads",
        f"{run.peak_bytes / MEBIBYTE:,.0f}",
        f"{run.peak_bytes / run.budget_bytes:.0%}",
        f"{run.wall_seconds:.1f}",
        f"{audio / run.wall_seconds:.1f}",
        f"{max(run.supervisor_bytes) / MEBIBYTE:.0f}",
        f"{_share_while_working(run):.1%}",
        str(retried),
        str(last["failed"]),
    )
    return f"| {' | '.join(cells)} |"


def _share_while_working(run: Run) -> float:
    """Give the supervisor's share of one core from the first child's start to the end."""
    at, cpu = run.working_since or (0.0, 0.0)
    return (run.supervisor_cpu_seconds - cpu) / (run.wall_seconds - at)


def _curve(run: Run) -> str:
    """Draw the largest memory of each moment, the budget as a line above."""
    end = run.samples[-1][0]
    columns = [0] * _COLUMNS
    for at, used in run.samples:
        column = min(int(at / end * _COLUMNS), _COLUMNS - 1)
        columns[column] = max(columns[column], used)
    lines = []
    for row in range(_ROWS, 0, -1):
        level = run.budget_bytes * row / _ROWS
        blank = "-" if row == _ROWS else " "
        cells = "".join("#" if used >= level else blank for used in columns)
        lines.append(f"    {level / MEBIBYTE:6,.0f} MiB |{cells}")
    lines.append(f"               +{'-' * _COLUMNS} {end:.0f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
