"""Kills nodes at random moments during a batch; for a longer campaign, run it as a program:

    python tests/cluster/node_kills.py --kills 20
    python tests/cluster/node_kills.py --kills 20 --library FOLDER

`ray start` starts three nodes on this machine. At a random moment one of them, its raylet and all
its descendants, gets SIGKILL, and a new node replaces it. When a library is finished, its stems
must be bit-identical to those without a cluster, each track must have been finished exactly once,
and only tracks in flight on a killed node may have been started again. Then the next library
begins, until enough nodes were killed.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cluster_nodes import Nodes
from common import COMMAND, stem_hashes

from stemsplit.api.demo.song import make_song
from stemsplit.core.settings import MODEL_SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class CampaignResult:
    """Counts and faults of a campaign.

    Attributes:
        kills: nodes killed.
        rounds: libraries finished.
        processes: processes killed with the nodes.
        in_flight: started tracks on the killed nodes.
        unfinished: attempts that were started and not finished.
        faults: descriptions of wrong results.
    """

    kills: int = 0
    rounds: int = 0
    processes: int = 0
    in_flight: int = 0
    unfinished: int = 0
    faults: list[str] = field(default_factory=list)


def make_library(folder: Path, tracks: int = 12, seconds: float = 25.0) -> None:
    """Write songs of four different lengths."""
    folder.mkdir(parents=True)
    mix = make_song(seconds).mix
    for number in range(tracks):
        length = len(mix) * (number % 4 + 1) // 4
        soundfile.write(
            folder / f"song {number}.wav", mix[:length], MODEL_SAMPLE_RATE, subtype="PCM_16"
        )


def separate_here(library: Path, output: Path) -> dict[str, str]:
    """Separate a library on this machine alone, and return the hashes of its stems."""
    subprocess.run([COMMAND, "separate", library, "-o", output, "--quiet"], check=True)
    return stem_hashes(output)


def campaign(
    library: Path, folder: Path, *, kills: int, seed: int, delay: tuple[float, float]
) -> CampaignResult:
    """Kill `kills` nodes while the library is separated repeatedly."""
    rng, result = random.Random(seed), CampaignResult()  # noqa: S311 - not for security
    expected = separate_here(library, folder / "reference")
    with Nodes() as nodes:
        for _ in range(3):
            nodes.add()
        while result.kills < kills:
            output = folder / f"out {result.rounds}"
            _run_round(library, output, nodes, result, rng, kills=kills, delay=delay)
            result.rounds += 1
            if stem_hashes(output) != expected:
                result.faults.append(f"round {result.rounds}: the stems differ")
    return result


def _run_round(
    library: Path,
    output: Path,
    nodes: Nodes,
    result: CampaignResult,
    rng: random.Random,
    *,
    kills: int,
    delay: tuple[float, float],
) -> None:
    with subprocess.Popen(
        [COMMAND, "separate", library, "-o", output, "--cluster", nodes.address, "--json"],
        stdout=subprocess.PIPE,
        text=True,
    ) as batch:
        assert batch.stdout is not None
        has_started = threading.Event()
        reader = threading.Thread(target=_read_events, args=(batch.stdout, result, has_started))
        reader.start()
        has_started.wait(120)
        while result.kills < kills and batch.poll() is None:
            time.sleep(rng.uniform(*delay))
            if batch.poll() is None:
                victim = nodes.nodes.pop(rng.randrange(len(nodes.nodes)))
                result.processes += victim.kill()
                result.kills += 1
                nodes.add()
        code = batch.wait(300)
        reader.join()
    if code:
        result.faults.append(f"the batch exited with code {code}")
    _check_journal(output, result)


def _read_events(
    lines: Iterable[str], result: CampaignResult, has_started: threading.Event
) -> None:
    """Read the JSON events of a batch."""
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            result.faults.append(f"not an event: {line}")
            continue
        if event["type"] == "track_started":
            has_started.set()
        elif event["type"] == "track_failed":
            result.faults.append(f"{event['source']}: {event['message']}")
        elif event["type"] == "note" and event["text"].startswith("a shard on "):
            result.in_flight += int(event["text"].rsplit(", ", 1)[1].split()[0])


def _check_journal(output: Path, result: CampaignResult) -> None:
    with sqlite3.connect(output / ".stemsplit" / "journal.sqlite3") as journal:
        done = journal.execute(
            "SELECT job, count(*) FROM attempts WHERE reason = 'done' GROUP BY job"
        ).fetchall()
        jobs = journal.execute("SELECT count(*) FROM jobs").fetchone()[0]
        others = journal.execute(
            "SELECT count(*) FROM attempts WHERE reason IS NOT 'done'"
        ).fetchone()[0]
    result.unfinished += others
    if len(done) != jobs or any(count != 1 for _, count in done):
        result.faults.append(f"{jobs} tracks, finished: {done}")


def main() -> int:
    """Run a campaign, and print a table."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--library", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = chosen.library
        if library is None:
            library = folder / "library"
            make_library(library, tracks=16, seconds=120)
        result = campaign(library, folder, kills=chosen.kills, seed=chosen.seed, delay=(0.5, 12.0))
    print("| nodes killed | processes killed | libraries | unfinished attempts | faults |")
    print("|---|---|---|---|---|")
    print(
        f"| {result.kills} | {result.processes} | {result.rounds} | {result.unfinished} "
        f"({result.in_flight} in flight) | {len(result.faults)} |"
    )
    for fault in result.faults:
        print(fault)
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
