"""Measure time and peak memory by duration of the file, of stemsplit and of Spleeter's command.

    python benchmarks/duration.py [--minutes 1 3 4 10 30 60] [--spleeter-up-to 10]

Memory is the sum of PSS (each page divided by the number of processes that share it) over the whole
process tree: supervisor, watchdog, fork server, resource tracker and child. For files of more than
ten minutes, Spleeter runs with `-d`. `--output` is the folder for a chart, which requires the extra
`benchmarks`. Requires Linux, and ffmpeg for Spleeter.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from common import (
    COMMAND,
    Usage,
    environment,
    fetch_weights,
    measure,
    mebibytes,
    print_line,
    run_spleeter,
    write_song,
)

_MIN_MINUTES_FOR_PEAK = 3
"""A shorter file may end before memory reaches its peak."""


def main() -> None:
    """Print the table and draw the chart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 4, 10, 30, 60])
    parser.add_argument(
        "--spleeter-up-to", type=float, default=10, metavar="MINUTES",
        help="longest file for Spleeter, which uses 20 to 25 MiB per second of audio "
        "(default: %(default)s minutes)",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="DIR")
    options = parser.parse_args()
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
    fetch_weights()
    print_line(f"{environment()}\n")
    columns = "MiB | s | times real time | CPU s per second of audio"
    print_line(f"| minutes | stemsplit, one child: {columns} | spleeter: {columns} |")
    print_line("|---|---|---|---|---|---|---|---|---|")
    ours: dict[float, Usage] = {}
    theirs: dict[float, Usage] = {}
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        song = folder / "song.wav"
        for minutes in options.minutes:
            write_song(song, minutes * 60)
            command: list[str | Path] = [COMMAND, "separate", song, "-o", "ours", "--overwrite"]
            ours[minutes] = measure([*command, "--quiet", "--jobs", "1"], folder)
            if minutes <= options.spleeter_up_to:
                theirs[minutes] = run_spleeter([song], folder / "theirs", minutes * 60)
                shutil.rmtree(folder / "theirs")
            cells = [*_cells(minutes, ours.get(minutes)), *_cells(minutes, theirs.get(minutes))]
            print_line(f"| {minutes:g} | {' | '.join(cells)} |")
    long = {minutes: usage for minutes, usage in ours.items() if minutes >= _MIN_MINUTES_FOR_PEAK}
    if long:
        peaks = [usage.peak_bytes for usage in long.values()]
        print_line(
            f"\nstemsplit, files of {min(long):g} minutes or more: the largest peak is "
            f"{max(peaks) / min(peaks) - 1:.1%} above the smallest"
        )
    if options.output is not None:
        _draw(ours, theirs, options.output / "duration.png")


def _cells(minutes: float, usage: Usage | None) -> list[str]:
    if usage is None:
        return ["not run", "", "", ""]
    seconds = minutes * 60
    return [
        mebibytes(usage.peak_bytes),
        f"{usage.wall_seconds:.1f}",
        f"{seconds / usage.wall_seconds:.1f}",
        f"{usage.cpu_seconds / seconds:.4f}",
    ]


def _draw(ours: dict[float, Usage], theirs: dict[float, Usage], path: Path) -> None:
    import matplotlib.pyplot as plt
    from plots import ACCENT, INK, save

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
    for usages, colour, name in ((theirs, INK, "spleeter"), (ours, ACCENT, "stemsplit, one child")):
        left.plot(list(usages), [usage.peak_bytes / 2**30 for usage in usages.values()], "o-",
                  color=colour, label=name)  # fmt: skip
        right.plot(list(usages), [usage.wall_seconds for usage in usages.values()], "o-",
                   color=colour)  # fmt: skip
    left.set_ylabel("peak PSS, GiB")
    right.set_ylabel("wall, s")
    for axis in (left, right):
        axis.set_xlabel("minutes of audio")
        axis.set_ylim(0)
    left.legend()
    save(figure, path)


if __name__ == "__main__":
    main()
