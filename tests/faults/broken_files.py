"""Broken files of every format, separated by a real pool; run it at length as a program:

    python tests/faults/broken_files.py --mutations 200
    python tests/faults/broken_files.py --mutations 200 --engine real --only m4a

Each format's file is cut, has bits flipped, sizes in its header made wild, counts made wrong, or
parts doubled, lost or swapped. Every track must come to an end of its own: its stems, or a reason
that lies with the file; the supervisor goes on, no child hangs, and none takes more than its cap.
Where the command `ffmpeg` is installed, what it decodes of each file is compared: no track that is
done is more than 50 ms shorter without a warning, and none more than 5 %.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from stemsplit import Limits, Outcome, Reason, Settings, WarningKind, separate
from stemsplit.api.demo.song import make_song
from stemsplit.audio.data_loss import TOLERATED_SHARE, UNNOTICED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "shared"))  # where this is a program of its own

from audio_files import write_libav  # noqa: E402 - see above

REAL = "auto"
RATE = 44_100
SONG_SECONDS = 2.5
HEADER_BYTES = 600
CAP = "600MiB"

SNDFILE = ("wav", "flac", "ogg", "mp3", "aiff", "w64", "rf64", "caf", "au")
LIBAV = {
    "m4a": "aac",
    "alac.m4a": "alac",
    "aac": "aac",
    "wma": "wmav2",
    "mka": "flac",
    "webm": "libopus",
    "opus": "libopus",
    "wv": "wavpack",
    "tta": "tta",
}
FORMATS = (*SNDFILE, *LIBAV)

ACCEPTABLE = frozenset(
    {Reason.DONE, Reason.BAD_INPUT, Reason.DAMAGED, Reason.CRASHED, Reason.OVER_RAM_CAP}
)
"""A decoder that crashes, or wants too much, takes its own child along and nothing else."""


def write_whole(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> None:
    """Write a file of the format that its name ends with, at 48 kHz if it must."""
    ext = path.name.partition(".")[2]
    if ext not in LIBAV:
        kind = "RF64" if ext == "rf64" else None
        soundfile.write(path, samples, rate, format=kind)
        return
    codec = LIBAV[ext]
    rate = 48_000 if codec == "libopus" else rate
    write_libav(path, samples, codec, rate=rate, bit_rate=192_000 if codec == "wmav2" else 0)


def _cut(data: bytearray, dice: random.Random) -> bytearray:
    return data[: dice.randrange(1, len(data))]


def _flip(data: bytearray, dice: random.Random) -> bytearray:
    for _ in range(2 ** dice.randrange(8)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return data


def _wild_size(data: bytearray, dice: random.Random) -> bytearray:
    """Put an extreme number where a header may have a size, a count or a rate."""
    width = dice.choice((1, 2, 4, 8))
    extremes = (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(min(HEADER_BYTES, len(data)))
        number = dice.choice(extremes).to_bytes(width, dice.choice(("little", "big")))
        data[at : at + width] = number
    return data


def _wrong_count(data: bytearray, dice: random.Random) -> bytearray:
    """Change a number of the header by a little."""
    at = dice.randrange(min(HEADER_BYTES, len(data)))
    data[at] = (data[at] + dice.choice((-1, 1, 2, 127))) % 256
    return data


def _rearrange(data: bytearray, dice: random.Random) -> bytearray:
    """Double a part, lose one, or make it zero."""
    first = dice.randrange(len(data))
    last = min(len(data), first + dice.randrange(1, 5_000))
    part = bytes(data[first:last])
    data[first:last] = dice.choice((part * 2, b"", bytes(len(part))))
    return data


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _cut,
    _flip,
    _wild_size,
    _wrong_count,
    _rearrange,
)


@dataclass
class ProgressTracker:
    """What became of the broken files of one format."""

    reasons: Counter[Reason] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    largest_bytes: int = 0
    warned: int = 0
    shorter: int = 0
    refused: int = 0
    of_decoder: list[str] = field(default_factory=list)
    unacceptable: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.reasons[outcome.reason] += 1
        self.slowest_seconds = max(self.slowest_seconds, outcome.seconds)
        for attempt in outcome.attempts:
            peak = attempt.peak_pss_bytes or attempt.peak_rss_bytes or 0
            self.largest_bytes = max(self.largest_bytes, peak)
        if outcome.reason in {Reason.CRASHED, Reason.OVER_RAM_CAP}:
            self.of_decoder.append(f"{outcome.job.source_path.name}: {outcome.message}")
        if outcome.reason not in ACCEPTABLE or not (outcome.message or outcome.stems):
            name = outcome.job.source_path.name
            self.unacceptable.append(f"{name}: {outcome.reason} {outcome.message}")
        if outcome.reason is Reason.DONE:
            self._compare(outcome)
        elif outcome.reason is Reason.BAD_INPUT:
            found = ffmpeg_seconds(outcome.job.source_path)
            self.refused += found is not None and found > UNNOTICED_SECONDS

    def _compare(self, outcome: Outcome) -> None:
        """Compare a track that is done with what FFmpeg decodes of its file."""
        is_warned = any(one.kind is WarningKind.DAMAGED for one in outcome.warnings)
        self.warned += is_warned
        found = ffmpeg_seconds(outcome.job.source_path)
        if found is None:
            return
        is_all = outcome.audio_seconds >= SONG_SECONDS - UNNOTICED_SECONDS
        if is_all and found > 1.5 * SONG_SECONDS:
            return  # FFmpeg takes samples for smaller ones, by a broken header
        less = found - outcome.audio_seconds
        self.shorter += less > UNNOTICED_SECONDS
        is_untold = less > UNNOTICED_SECONDS and not is_warned
        if is_untold or less > TOLERATED_SHARE * found + UNNOTICED_SECONDS:
            self.lost.append(
                f"{outcome.job.source_path.name}: {outcome.audio_seconds:.2f} s, and FFmpeg finds "
                f"{found:.2f} s; warnings: {[str(one) for one in outcome.warnings]}"
            )


def ffmpeg_seconds(path: Path) -> float | None:
    """Return how much FFmpeg's own command decodes; None where it is not installed, or nothing."""
    if shutil.which("ffmpeg") is None:
        return None
    done = subprocess.run(
        [
            *("ffmpeg", "-v", "quiet", "-i", str(path), "-map", "0:a:0"),
            *("-f", "s16le", "-ac", "1", "-ar", "8000", "-"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return len(done.stdout) / 16_000 or None


def break_files(folder: Path, ext: str, count: int, seed: int) -> list[Path]:
    """Write so many broken files of a format; the same seed gives the same."""
    song = make_song(SONG_SECONDS).mix
    whole = folder / f"whole.{ext}"
    write_whole(whole, song)
    data = whole.read_bytes()
    whole.unlink()
    paths = []
    for number in range(count):
        dice = random.Random(f"{ext} {seed} {number}")  # noqa: S311 - to be had again
        mutate = MUTATIONS[number % len(MUTATIONS)]
        path = folder / f"{number:03}{mutate.__name__}.{ext}"
        path.write_bytes(mutate(bytearray(data), dice))
        paths.append(path)
    return paths


def run(folder: Path, ext: str, count: int, seed: int, engine: str) -> ProgressTracker:
    """Separate the broken files of one format."""
    sources = folder / f"{ext} broken"
    sources.mkdir()
    paths = break_files(sources, ext, count, seed)
    limits = Limits.parse(max_ram_per_file=CAP, stall_timeout=30, timeout=90, retries=0)
    result = separate(
        paths, folder / f"{ext} stems", Settings(engine=engine), limits=limits, jobs=2
    )
    tracker = ProgressTracker()
    for outcome in result.outcomes:
        tracker.add(outcome)
    tracker.reasons[Reason.BAD_INPUT] += len(result.problems)
    settled = len(result.outcomes) + len(result.problems)
    if settled != count or result.stopped:
        tracker.unacceptable.append(f"{count - settled} of {count} came to no end")
    return tracker


def main() -> int:
    """Run them all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mutations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("fast", "real"), default="fast")
    parser.add_argument("--only", action="append", choices=FORMATS)
    options = parser.parse_args()
    sys.path.insert(0, str(HERE))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    engine = REAL if options.engine == "real" else "fake_engines:half"
    bad: list[str] = []
    told: list[str] = []
    print(  # noqa: T201
        "| format | stems | of them with a warning | shorter than FFmpeg's | damaged "
        "| bad input | of them with sound for FFmpeg | its decoder | slowest | most memory |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for ext in options.only or FORMATS:
            tracker = run(Path(folder), ext, options.mutations, options.seed, engine)
            print(  # noqa: T201
                f"| {ext} | {tracker.reasons[Reason.DONE]} | {tracker.warned} | {tracker.shorter} "
                f"| {tracker.reasons[Reason.DAMAGED]} | {tracker.reasons[Reason.BAD_INPUT]} "
                f"| {tracker.refused} "
                f"| {len(tracker.of_decoder)} | {tracker.slowest_seconds:.1f} s "
                f"| {tracker.largest_bytes / 2**20:.0f} MiB |",
                flush=True,
            )
            bad += [*tracker.unacceptable, *tracker.lost]
            told += tracker.of_decoder
    for line in (*told, *bad):
        print(line)  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
