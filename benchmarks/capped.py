"""Compare batches under small and large memory budgets: time, and memory over time.

Runs `stemsplit separate` on the same files with each budget. Samples the memory of the whole
process tree (sum of PSS) and the memory and CPU time of the supervisor ten times per second, from
outside. Prints a table, and the memory over time as a text graph. Run with `python
benchmarks/capped.py [--budgets 1GiB 1.2GiB 3GiB] [--library DIR | --files 20]`.
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
from typing import Any

import psutil
from common import COMMAND, environment, tree_memory_bytes, write_song

from stemsplit.core.limits import Resources
from stemsplit.core.units import parse_size

MEBIBYTE = 2**20
_COLUMNS = 72
_ROWS = 12


@dataclass
class Run:
    """Measurements of one batch.

    Attributes:
        budget_bytes: its memory budget.
        samples: seconds since the start, and the memory of the process tree.
        supervisor_bytes: samples of the memory of the supervisor.
        supervisor_cpu_seconds: CPU time of the supervisor.
        first_start: seconds until the first child started, and the CPU time of the supervisor then.
        wall_seconds: duration of the batch.
        events: events that the batch printed.
    """

    budget_bytes: int
    samples: list[tuple[float, int]] = field(default_factory=list)
    supervisor_bytes: list[int] = field(default_factory=list)
    supervisor_cpu_seconds: float = 0.0
    first_start: tuple[float, float] | None = None
    wall_seconds: float = 0.0
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def peak_bytes(self) -> int:
        """Peak of the sum of PSS."""
        return max(used for _, used in self.samples)


def main() -> None:
    """Print the table and the graphs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", nargs="+", default=["1GiB", "1.2GiB", "3GiB"])
    parser.add_argument("--library", type=Path, help="a folder of music (default: synthetic songs)")
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
        runs = {budget: _run(budget, library, folder) for budget in options.budgets}
    print(
        "| budget | children | peak, MiB | share of the budget | wall, s | times real time "
        "| supervisor, MiB | supervisor, share of one core | retried | failed |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for budget, run in runs.items():
        print(_row(budget, run))
    for budget, run in runs.items():
        print(f"\nMemory over time, --max-ram {budget}:\n")
        print(_graph(run))


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
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        stop = threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, run, began, stop))
        sampler.start()
        if process.stdout is not None:
            for line in process.stdout:
                run.events.append(json.loads(line))
                if run.first_start is None and run.events[-1]["type"] == "track_started":
                    run.first_start = (time.monotonic() - began, _cpu_seconds(process.pid))
        process.wait()
        stop.set()
        sampler.join()
    run.wall_seconds = time.monotonic() - began
    return run


def _sample(pid: int, run: Run, began: float, stop: threading.Event) -> None:
    supervisor = psutil.Process(pid)
    while not stop.wait(0.1):
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


def _row(budget: str, run: Run) -> str:
    last = run.events[-1]
    (started,) = [event for event in run.events if event["type"] == "pool_started"]
    retried = sum(event["type"] == "track_retried" for event in run.events)
    audio = float(last["audio_seconds"])
    each = " each" if started["jobs"] != 1 else ""
    cells = (
        budget,
        f"{started['jobs']} with {Resources(threads=started['threads'])}{each}",
        f"{run.peak_bytes / MEBIBYTE:,.0f}",
        f"{run.peak_bytes / run.budget_bytes:.0%}",
        f"{run.wall_seconds:.1f}",
        f"{audio / run.wall_seconds:.1f}",
        f"{max(run.supervisor_bytes) / MEBIBYTE:.0f}",
        f"{_share_of_core(run):.1%}",
        str(retried),
        str(last["failed"]),
    )
    return f"| {' | '.join(cells)} |"


def _share_of_core(run: Run) -> float:
    """Return the supervisor's share of one core from the first child's start to the end."""
    seconds, cpu = run.first_start or (0.0, 0.0)
    return (run.supervisor_cpu_seconds - cpu) / (run.wall_seconds - seconds)


def _graph(run: Run) -> str:
    """Draw the memory over time, with the budget as a line at the top."""
    end = run.samples[-1][0]
    columns = [0] * _COLUMNS
    for seconds, used in run.samples:
        column = min(int(seconds / end * _COLUMNS), _COLUMNS - 1)
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
