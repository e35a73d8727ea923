"""Time and peak memory against the length of a file: stemsplit, and Spleeter's own command.

    python benchmarks/duration.py [--minutes 1 3 4 10 30 60] [--spleeter-up-to 10]

Memory is the sum of PSS (each page divided by the number of processes that share it) over the whole
process tree: supervisor, warden, fork server, resource tracker and child. Spleeter is told to take
files of more than ten minutes, where it is asked for them. A chart goes to `--output`; it needs the
extra `benchmarks`. Linux, and ffmpeg for Spleeter.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from common import (
    COMMAND,
    Measured,
    environment,
    measure,
    mebibytes,
    spleeter,
    tell,
    weights_folder,
    write_song,
)

_TELLING_MINUTES = 3
"""A shorter file may end before its peak."""


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 4, 10, 30, 60])
    parser.add_argument(
        "--spleeter-up-to", type=float, default=10, metavar="MINUTES",
        help="Spleeter takes 20 to 25 MiB a second of audio (default: %(default)s minutes)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
    weights_folder()
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
                theirs[minutes] = spleeter([song], folder / "theirs", minutes * 60)
                shutil.rmtree(folder / "theirs")
            cells = [*_cells(minutes, ours.get(minutes)), *_cells(minutes, theirs.get(minutes))]
            tell(f"| {minutes:g} | {' | '.join(cells)} |")
    long = {minutes: ran for minutes, ran in ours.items() if minutes >= _TELLING_MINUTES}
    if long:
        peaks = [ran.peak_bytes for ran in long.values()]
        tell(f"\nstemsplit from {min(long):g} minutes on: largest peak "
             f"{max(peaks) / min(peaks) - 1:.1%} above the smallest")  # fmt: skip
    if options.output is not None:
        _draw(ours, theirs, options.output / "duration.png")


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
    from plots import ACCENT, INK, save

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
