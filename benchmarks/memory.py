"""Peak memory against the length of a file: stemsplit, and Spleeter's own command where it fits.

Memory is the sum of PSS (each page divided by the number of processes that share it) over the whole
process tree: supervisor, fork server, resource tracker and child. Run it with
`python benchmarks/memory.py [--minutes 3 30] [--spleeter-up-to 4]`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import COMMAND, SPLEETER, environment, measure, write_song

from stemsplit.models.store import models_folder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 30])
    parser.add_argument(
        "--spleeter-up-to", type=float, default=4, metavar="MINUTES",
        help="Spleeter takes 20 to 25 MiB a second of audio (default: %(default)s minutes)",
    )  # fmt: skip
    options = parser.parse_args()
    print(f"{environment()}\n")
    print("| minutes | stemsplit, MiB | against the first | times real time | spleeter, MiB |")
    print("|---|---|---|---|---|")
    first = 0
    with tempfile.TemporaryDirectory(prefix="stemsplit-benchmark-") as name:
        folder = Path(name)
        for minutes in options.minutes:
            song = folder / "song.wav"
            write_song(song, minutes * 60)
            ours = measure([COMMAND, "separate", song, "-o", "ours", "--overwrite", "-q"], folder)
            first = first or ours.peak_bytes
            theirs = "not run"
            if minutes <= options.spleeter_up_to:
                command: list[str | Path] = [SPLEETER, "separate", "-o", "theirs", song]
                ran = measure(command, folder, MODEL_PATH=str(models_folder()))
                # Its exit code is 0 also when it could not do it, for want of ffmpeg say.
                written = (folder / "theirs" / "song" / "vocals.wav").exists()
                theirs = f"{ran.peak_bytes / 2**20:,.0f}" if written else "failed"
            print(
                f"| {minutes:g} | {ours.peak_bytes / 2**20:,.0f} | "
                f"{ours.peak_bytes / first - 1:+.1%} | "
                f"{minutes * 60 / ours.wall_seconds:.1f} | {theirs} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
