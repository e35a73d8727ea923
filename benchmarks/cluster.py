"""Compare a batch on a cluster of local nodes with the pool of one machine, in one run.

    python benchmarks/cluster.py                          # twenty synthetic songs, 40 minutes
    python benchmarks/cluster.py --library ~/Music/album --rounds 3

Runs two and three nodes with one processor each, started by `ray start` (and, in the first round
only, two nodes started by `ray.cluster_utils.Cluster`), and `stemsplit separate` with the same
number of children with one thread each. Each round runs all of them. The time is that of the
command; the nodes start before it. All stems must be identical. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cluster_nodes import Nodes
from common import (
    COMMAND,
    Usage,
    audio_files,
    duration_of,
    environment,
    fetch_weights,
    measure,
    print_line,
    stem_hashes,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (40, 60, 80, 100, 120, 130, 140, 160, 180, 190) * 2
"""Durations of the synthetic songs in seconds."""

_SETTLE_SECONDS = 20.0
"""A node that has joined still starts Ray's agents, which take some seconds of CPU time each."""


def main() -> None:
    """Compare the cluster with the pool and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    fetch_weights()
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        library = options.library.resolve() if options.library else folder / "library"
        files = audio_files(library) if options.library else write_library(library, LENGTHS)
        seconds = sum(map(duration_of, files))
        print_line(f"{environment()}\n")
        print_line(f"{len(files)} files, {seconds:,.0f} s of audio, {options.rounds} rounds\n")
        _compare(library, folder / "out", options.rounds)


def _compare(library: Path, output: Path, rounds: int) -> None:
    def separate(*options: str) -> Usage:
        shutil.rmtree(output, ignore_errors=True)
        command: list[str | Path] = [
            COMMAND,
            "separate",
            library,
            "-o",
            output,
            "--quiet",
            "--threads",
            "1",
        ]
        return measure([*command, *options], output.parent)

    def on_nodes(count: int) -> Usage:
        with Nodes() as nodes:
            for _ in range(count):
                nodes.add()
            time.sleep(_SETTLE_SECONDS)
            return separate("--cluster", nodes.address)

    def on_cluster_utils() -> Usage:
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1, memory=2 * 2**30)
            time.sleep(_SETTLE_SECONDS)
            return separate("--cluster", cluster.address)
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]

    contenders: dict[str, tuple[str, Callable[[], Usage]]] = {
        "pool, 2 children": ("", lambda: separate("--jobs", "2")),
        "2 nodes, `ray start`": ("pool, 2 children", lambda: on_nodes(2)),
        "2 nodes, `cluster_utils`": ("pool, 2 children", on_cluster_utils),
        "pool, 3 children": ("", lambda: separate("--jobs", "3")),
        "3 nodes, `ray start`": ("pool, 3 children", lambda: on_nodes(3)),
    }
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    same: dict[str, bool] = dict.fromkeys(contenders, True)
    expected: dict[str, str] = {}
    for number in range(rounds):
        for name, (_, run) in contenders.items():
            if number and "cluster_utils" in name:
                continue
            walls[name].append(run().wall_seconds)
            found = stem_hashes(output)
            expected = expected or found
            same[name] = same[name] and found == expected
    print_line("| | wall, s | ratio to the pool | range | stems |")
    print_line("|---|---|---|---|---|")
    for name, (pool, _) in contenders.items():
        pairs = zip(walls[name], walls.get(pool, []), strict=False)
        ratios = [wall / pool_wall for wall, pool_wall in pairs]
        shown = (
            f"{statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f}"
            if ratios
            else " | "
        )
        stems = "bit-identical" if same[name] else "**different**"
        print_line(f"| {name} | {statistics.median(walls[name]):.1f} | {shown} | {stems} |")


if __name__ == "__main__":
    main()
