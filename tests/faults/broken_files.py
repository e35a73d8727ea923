"""Separates damaged files of every format in a real pool; for more files, run it as a program:

    python tests/faults/broken_files.py --mutations 200
    python tests/faults/broken_files.py --mutations 200 --engine real --only m4a

A file of each format is cut, has bits flipped, extreme numbers or wrong counts in its header, or
parts doubled, removed or zeroed. Every track must end with its stems or with a reason that names
the file as the cause; no child hangs or exceeds its cap. If the command `ffmpeg` is installed, it
decodes each file for comparison: without a warning, no track is more than 50 ms shorter, and no
track is more than 5 % shorter.
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
from stemsplit.audio.data_loss import NEGLIGIBLE_SECONDS, TOLERATED_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "shared"))  # for a run as a program

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
"""A decoder that crashes, or exceeds the cap, affects only its own child."""


def write_whole(path: Path, samples: NDArray[np.float32], rate: int = RATE) -> None:
    """Write a file in the format of its extension, at 48 kHz if the codec requires it."""
    ext = path.name.partition(".")[2]
    if ext not in LIBAV:
        file_format = "RF64" if ext == "rf64" else None
        soundfile.write(path, samples, rate, format=file_format)
        return
    codec = LIBAV[ext]
    rate = 48_000 if codec == "libopus" else rate
    write_libav(path, samples, codec, rate=rate, bit_rate=192_000 if codec == "wmav2" else 0)


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(1, len(data))]


def _flip(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(2 ** rng.randrange(8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _extreme_number(data: bytearray, rng: random.Random) -> bytearray:
    """Put extreme numbers where a header may have a size, a count or a rate."""
    width = rng.choice((1, 2, 4, 8))
    extremes = (0, 1, 2 ** (8 * width) - 1, 2 ** (8 * width - 1), 2 ** (8 * width - 1) - 1)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(min(HEADER_BYTES, len(data)))
        number = rng.choice(extremes).to_bytes(width, rng.choice(("little", "big")))
        data[at : at + width] = number
    return data


def _wrong_count(data: bytearray, rng: random.Random) -> bytearray:
    """Change a byte of the header slightly."""
    at = rng.randrange(min(HEADER_BYTES, len(data)))
    data[at] = (data[at] + rng.choice((-1, 1, 2, 127))) % 256
    return data


def _rearrange(data: bytearray, rng: random.Random) -> bytearray:
    """Double, remove or zero a part."""
    first = rng.randrange(len(data))
    last = min(len(data), first + rng.randrange(1, 5_000))
    part = bytes(data[first:last])
    data[first:last] = rng.choice((part * 2, b"", bytes(len(part))))
    return data


MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _cut,
    _flip,
    _extreme_number,
    _wrong_count,
    _rearrange,
)


@dataclass
class FormatResults:
    """Results of the damaged files of one format.

    Attributes:
        reasons: number of tracks with each reason.
        slowest_seconds: longest time of a track.
        largest_bytes: peak memory of a child.
        warned: finished tracks with a warning about damage.
        shorter: finished tracks shorter than FFmpeg's output.
        refused: bad input that FFmpeg can decode.
        decoder_faults: tracks whose decoder crashed or exceeded the cap.
        unacceptable: tracks with another reason, or without a message.
        lost: finished tracks that are too short.
    """

    reasons: Counter[Reason] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    largest_bytes: int = 0
    warned: int = 0
    shorter: int = 0
    refused: int = 0
    decoder_faults: list[str] = field(default_factory=list)
    unacceptable: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.reasons[outcome.reason] += 1
        self.slowest_seconds = max(self.slowest_seconds, outcome.seconds)
        for attempt in outcome.attempts:
            peak = attempt.peak_pss_bytes or attempt.peak_rss_bytes or 0
            self.largest_bytes = max(self.largest_bytes, peak)
        if outcome.reason in {Reason.CRASHED, Reason.OVER_RAM_CAP}:
            self.decoder_faults.append(f"{outcome.job.source_path.name}: {outcome.message}")
        if outcome.reason not in ACCEPTABLE or not (outcome.message or outcome.stems):
            name = outcome.job.source_path.name
            self.unacceptable.append(f"{name}: {outcome.reason} {outcome.message}")
        if outcome.reason is Reason.DONE:
            self._compare(outcome)
        elif outcome.reason is Reason.BAD_INPUT:
            decoded = ffmpeg_seconds(outcome.job.source_path)
            self.refused += decoded is not None and decoded > NEGLIGIBLE_SECONDS

    def _compare(self, outcome: Outcome) -> None:
        """Compare a finished track with what FFmpeg decodes."""
        is_warned = any(warning.kind is WarningKind.DAMAGED for warning in outcome.warnings)
        self.warned += is_warned
        decoded = ffmpeg_seconds(outcome.job.source_path)
        if decoded is None:
            return
        is_complete = outcome.audio_seconds >= SONG_SECONDS - NEGLIGIBLE_SECONDS
        if is_complete and decoded > 1.5 * SONG_SECONDS:
            return  # a damaged header makes FFmpeg read the samples as smaller ones
        missing = decoded - outcome.audio_seconds
        self.shorter += missing > NEGLIGIBLE_SECONDS
        lacks_warning = missing > NEGLIGIBLE_SECONDS and not is_warned
        if lacks_warning or missing > TOLERATED_SHARE * decoded + NEGLIGIBLE_SECONDS:
            self.lost.append(
                f"{outcome.job.source_path.name}: {outcome.audio_seconds:.2f} s, FFmpeg decodes "
                f"{decoded:.2f} s; warnings: {[str(warning) for warning in outcome.warnings]}"
            )


def ffmpeg_seconds(path: Path) -> float | None:
    """Return how many seconds FFmpeg decodes; None if that is 0, or FFmpeg is not installed."""
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
    """Write `count` damaged files of a format, which depend only on the seed."""
    song = make_song(SONG_SECONDS).mix
    whole = folder / f"whole.{ext}"
    write_whole(whole, song)
    data = whole.read_bytes()
    whole.unlink()
    paths = []
    for number in range(count):
        rng = random.Random(f"{ext} {seed} {number}")  # noqa: S311 - reproducible
        mutate = MUTATIONS[number % len(MUTATIONS)]
        path = folder / f"{number:03}{mutate.__name__}.{ext}"
        path.write_bytes(mutate(bytearray(data), rng))
        paths.append(path)
    return paths


def run(folder: Path, ext: str, count: int, seed: int, engine: str) -> FormatResults:
    """Separate the damaged files of one format."""
    sources = folder / f"{ext} broken"
    sources.mkdir()
    paths = break_files(sources, ext, count, seed)
    limits = Limits.parse(max_ram_per_file=CAP, stall_timeout=30, timeout=90, retries=0)
    result = separate(
        paths, folder / f"{ext} stems", Settings(engine=engine), limits=limits, jobs=2
    )
    results = FormatResults()
    for outcome in result.outcomes:
        results.add(outcome)
    results.reasons[Reason.BAD_INPUT] += len(result.problems)
    ended = len(result.outcomes) + len(result.problems)
    if ended != count or result.stopped:
        results.unacceptable.append(f"{count - ended} of {count} have no outcome")
    return results


def main() -> int:
    """Separate damaged files of all formats, and print a table."""
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
    decoder_faults: list[str] = []
    print(  # noqa: T201
        "| format | stems | of these with a warning | of these shorter than FFmpeg's | damaged "
        "| bad input | of these decoded by FFmpeg | decoder faults | slowest | peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        for ext in options.only or FORMATS:
            results = run(Path(folder), ext, options.mutations, options.seed, engine)
            print(  # noqa: T201
                f"| {ext} | {results.reasons[Reason.DONE]} | {results.warned} | {results.shorter} "
                f"| {results.reasons[Reason.DAMAGED]} | {results.reasons[Reason.BAD_INPUT]} "
                f"| {results.refused} "
                f"| {len(results.decoder_faults)} | {results.slowest_seconds:.1f} s "
                f"| {results.largest_bytes / 2**20:.0f} MiB |",
                flush=True,
            )
            bad += [*results.unacceptable, *results.lost]
            decoder_faults += results.decoder_faults
    for line in (*decoder_faults, *bad):
        print(line)  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
