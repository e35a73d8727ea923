"""Time and peak memory against the length of a file: stemsplit, and Spleeter's own command.

    python benchmarks/duration.py [--minutes 1 4 10 30 60] [--spleeter-up-to 10]

Memory is the sum of PSS (each page divided by the number of processes that share it) over the whole
process tree: supervisor, fork server, resource tracker and child. Spleeter cuts every file off
after ten minutes. A chart goes to `--output`; it needs the extra `benchmarks`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import (
    COMMAND,
    SPLEETER,
    Measured,
    environment,
    measure,
    mebibytes,
    tell,
    write_song,
)

from stemsplit.models.store import models_folder

_TELLING_MINUTES = 3
"""A shorter file may end before its peak."""


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 4, 10, 30, 60])
    parser.add_argument(
        "--spleeter-up-to", type=float, default=10, metavar="MINUTES",
        help="Spleeter takes 20 to 25 MiB a second of audio (default: %(default)s minutes)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIR")
    options = parser.parse_args()
    tell(f"{environment()}\n")
    tell("| minutes | stemsplit, one child: MiB | s | times real time | CPU s a second of audio "
         "| spleeter: MiB | s | times real time | CPU s a second of audio |")  # fmt: skip
    tell("|---|---|---|---|---|---|---|---|---|")
    ours: dict[float, Measured] = {}
    theirs: dict[float, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        song = folder / "song.wav"
        for minutes in options.minutes:
            write_song(song, minutes * 60)
            command: list[str | Path] = [COMMAND, "separate", song, "-o", "ours", "--overwrite"]
            ours[minutes] = measure([*command, "--quiet", "--jobs", "1"], folder)
            if minutes <= options.spleeter_up_to:
                theirs[minutes] = _spleeter(song, folder)
            cells = [*_cells(minutes, ours.get(minutes)), *_cells(minutes, theirs.get(minutes))]
            tell(f"| {minutes:g} | {' | '.join(cells)} |")
    peaks = [ran.peak_bytes for minutes, ran in ours.items() if minutes >= _TELLING_MINUTES]
    if peaks:
        tell(f"\nstemsplit from {_TELLING_MINUTES} minutes on: largest peak "
             f"{max(peaks) / min(peaks) - 1:.1%} above the smallest")  # fmt: skip
    if options.output is not None:
        _draw(ours, theirs, options.output / "duration.png")


def _spleeter(song: Path, folder: Path) -> Measured:
    ran = measure(
        [SPLEETER, "separate", "-o", "theirs", song], folder, MODEL_PATH=str(models_folder())
    )
    stem = folder / "theirs" / "song" / "vocals.wav"
    # Its exit code is 0 also when it could not do it, for want of ffmpeg say.
    if not stem.exists():
        raise RuntimeError("spleeter wrote nothing; is ffmpeg installed?")
    stem.unlink()
    return ran


def _cells(minutes: float, ran: Measured | None) -> list[str]:
    if ran is None:
        return ["not run", "", "", ""]
    seconds = minutes * 60
    return [
        mebibytes(ran.peak_bytes),
        f"{ran.wall_seconds:.1f}",
        f"{seconds / ran.wall_seconds:.1f}",
        f"{ran.cpu_seconds / seconds:.4f}",
    ]


def _draw(ours: dict[float, Measured], theirs: dict[float, Measured], path: Path) -> None:
    import matplotlib.pyplot as plt
    from separation import ACCENT, INK, save

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
    for ran, colour, name in ((theirs, INK, "spleeter"), (ours, ACCENT, "stemsplit, one child")):
        left.plot(list(ran), [one.peak_bytes / 2**30 for one in ran.values()], "o-",
                  color=colour, label=name)  # fmt: skip
        right.plot(list(ran), [one.wall_seconds for one in ran.values()], "o-", color=colour)
    left.set_ylabel("peak PSS, GiB")
    right.set_ylabel("wall, s")
    for axis in (left, right):
        axis.set_xlabel("minutes of audio")
        axis.set_ylim(0)
    left.legend()
    save(figure, path)


if __name__ == "__main__":
    main()
