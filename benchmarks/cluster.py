"""A batch on a cluster of nodes on this machine against the pool of one machine, in one run.

    python benchmarks/cluster.py                          # twenty synthetic songs, 40 minutes
    python benchmarks/cluster.py --library ~/Music/album --rounds 3

Two and three nodes, one processor each, by `ray start` (and two by `ray.cluster_utils.Cluster`, in
the first round alone), against `stemsplit separate` with as many children of one thread each. They
take turns, round after round. Timed is the command from its start to its end; the nodes are there
before. The stems of all must be the same to the last bit. A table in Markdown goes to the terminal.
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
    Measured,
    audio_files,
    content,
    environment,
    measure,
    seconds_of,
    tell,
    weights_folder,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (40, 60, 80, 100, 120, 130, 140, 160, 180, 190) * 2
"""Seconds of the synthetic songs."""

_SETTLE_SECONDS = 20.0
"""A node goes on starting Ray's agents, some seconds of a processor each, when it has joined."""


def main() -> None:
    """Compare, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    weights_folder()
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        library = options.library.resolve() if options.library else folder / "library"
        files = audio_files(library) if options.library else write_library(library, LENGTHS)
        seconds = sum(map(seconds_of, files))
        tell(f"{environment()}\n")
        tell(f"{len(files)} files, {seconds:,.0f} s of audio, {options.rounds} rounds\n")
        _compare(library, folder / "out", options.rounds)


def _compare(library: Path, output: Path, rounds: int) -> None:
    def separate(*more: str) -> Measured:
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
        return measure([*command, *more], output.parent)

    def on_nodes(count: int) -> Measured:
        with Nodes() as nodes:
            for _ in range(count):
                nodes.add()
            time.sleep(_SETTLE_SECONDS)
            return separate("--cluster", nodes.address)

    def on_cluster_utils() -> Measured:
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

    contenders: dict[str, tuple[str, Callable[[], Measured]]] = {
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
            found = content(output)
            expected = expected or found
            same[name] = same[name] and found == expected
    tell("| | wall, s | of the pool's | least to most | stems |")
    tell("|---|---|---|---|---|")
    for name, (against, _) in contenders.items():
        ratios = [
            one / other for one, other in zip(walls[name], walls.get(against, []), strict=False)
        ]
        shown = (
            f"{statistics.median(ratios):.3f} | {min(ratios):.3f} to {max(ratios):.3f}"
            if ratios
            else " | "
        )
        stems = "the same to the last bit" if same[name] else "**different**"
        tell(f"| {name} | {statistics.median(walls[name]):.1f} | {shown} | {stems} |")


if __name__ == "__main__":
    main()
