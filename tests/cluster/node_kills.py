"""Nodes killed at random moments while a library is separated; run it at length as a program:

    python tests/cluster/node_kills.py --kills 20
    python tests/cluster/node_kills.py --kills 20 --library FOLDER

Three nodes by `ray start` on this machine. At a random moment one of them, its raylet and all that
is under it, gets SIGKILL, and another one joins in its place. When a library is finished, every
stem must be there and be the same to the last bit as without a cluster, every track must have been
finished once, and none may have been begun again that was not in flight on a killed node. Then the
next one is begun, until there were so many kills.
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
from common import COMMAND, content

from stemsplit.api.demo.song import make_song
from stemsplit.core.settings import MODEL_SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class ProgressTracker:
    """What happened.

    Attributes:
        kills: nodes killed.
        rounds: libraries finished.
        processes: killed with them.
        in_flight: tracks that were being separated on them.
        again: attempts that were begun and not finished.
        faults: what must not be.
    """

    kills: int = 0
    rounds: int = 0
    processes: int = 0
    in_flight: int = 0
    again: int = 0
    faults: list[str] = field(default_factory=list)


def make_library(folder: Path, tracks: int = 12, seconds: float = 25.0) -> None:
    """Make songs of different lengths."""
    folder.mkdir(parents=True)
    mix = make_song(seconds).mix
    for number in range(tracks):
        length = len(mix) * (number % 4 + 1) // 4
        soundfile.write(
            folder / f"song {number}.wav", mix[:length], MODEL_SAMPLE_RATE, subtype="PCM_16"
        )


def campaign(
    library: Path, folder: Path, *, kills: int, seed: int, delay: tuple[float, float]
) -> ProgressTracker:
    """Kill so many nodes, and separate the library again and again meanwhile."""
    dice, tracker = random.Random(seed), ProgressTracker()  # noqa: S311 - moments, no secrets
    reference = folder / "reference"
    subprocess.run([COMMAND, "separate", library, "-o", reference, "--quiet"], check=True)
    expected = content(reference)
    with Nodes() as nodes:
        for _ in range(3):
            nodes.add()
        while tracker.kills < kills:
            output = folder / f"out {tracker.rounds}"
            _one_round(library, output, nodes, tracker, dice, kills=kills, delay=delay)
            tracker.rounds += 1
            if content(output) != expected:
                tracker.faults.append(f"round {tracker.rounds}: the stems are not the same")
    return tracker


def _one_round(
    library: Path,
    output: Path,
    nodes: Nodes,
    tracker: ProgressTracker,
    dice: random.Random,
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
        began = threading.Event()
        ears = threading.Thread(target=_listen, args=(batch.stdout, tracker, began))
        ears.start()
        began.wait(120)
        while tracker.kills < kills and batch.poll() is None:
            time.sleep(dice.uniform(*delay))
            if batch.poll() is None:
                victim = nodes.nodes.pop(dice.randrange(len(nodes.nodes)))
                tracker.processes += victim.kill()
                tracker.kills += 1
                nodes.add()
        code = batch.wait(300)
        ears.join()
    if code:
        tracker.faults.append(f"the batch ended with exit code {code}")
    _look_into_journal(output, tracker)


def _listen(lines: Iterable[str], tracker: ProgressTracker, began: threading.Event) -> None:
    """Take in what a batch tells."""
    for line in lines:
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            tracker.faults.append(f"no event: {line}")
            continue
        if event["type"] == "track_started":
            began.set()
        elif event["type"] == "track_failed":
            tracker.faults.append(f"{event['source']}: {event['message']}")
        elif event["type"] == "note" and "broke off" in event["text"]:
            tracker.in_flight += int(event["text"].rsplit(", ", 1)[1].split()[0])


def _look_into_journal(output: Path, tracker: ProgressTracker) -> None:
    with sqlite3.connect(output / ".stemsplit" / "journal.sqlite3") as journal:
        done = journal.execute(
            "SELECT job, count(*) FROM attempts WHERE reason = 'done' GROUP BY job"
        ).fetchall()
        jobs = journal.execute("SELECT count(*) FROM jobs").fetchone()[0]
        others = journal.execute(
            "SELECT count(*) FROM attempts WHERE reason IS NOT 'done'"
        ).fetchone()[0]
    tracker.again += others
    if len(done) != jobs or any(count != 1 for _, count in done):
        tracker.faults.append(f"{jobs} tracks, finished: {done}")


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--library", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        library = chosen.library
        if library is None:
            library = folder / "library"
            make_library(library, tracks=16, seconds=120)
        tracker = campaign(library, folder, kills=chosen.kills, seed=chosen.seed, delay=(0.5, 12.0))
    print("| nodes killed | processes killed | libraries | attempts begun again | faults |")
    print("|---|---|---|---|---|")
    print(
        f"| {tracker.kills} | {tracker.processes} | {tracker.rounds} | {tracker.again} "
        f"({tracker.in_flight} in flight) | {len(tracker.faults)} |"
    )
    for fault in tracker.faults:
        print(fault)
    return 1 if tracker.faults else 0


if __name__ == "__main__":
    sys.exit(main())
