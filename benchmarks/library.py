"""Time and memory of a library of ten thousand files: scan and plan, and a run with nothing to do.

    python benchmarks/library.py                 # 10,000 files in 1,000 folders
    python benchmarks/library.py --files 50000

The files are real but short. For the second table they are entered as done: separating so many
would take hours and is not what is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import mediafile
import soundfile
from common import COMMAND, environment, measure

from stemsplit import __version__
from stemsplit.api.demo.song import make_song
from stemsplit.batch.decisions import wanted_of
from stemsplit.batch.planning import plan_batch
from stemsplit.batch.request import BatchRequest
from stemsplit.core.limits import Limits, Resources
from stemsplit.core.outcome import Attempt, Outcome, Reason
from stemsplit.core.settings import Settings
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.records import Entry, JobState, coming_stems
from stemsplit.journal.writer import Journal
from stemsplit.library.naming import DEFAULT_NAME, Template
from stemsplit.library.scan import scan

_FORMATS = ("mp3", "flac", "ogg", "wav")
_A_FOLDER = 10


def make_library(folder: Path, files: int) -> None:
    """Make an artist's folder for a hundred files, and an album's for ten, with covers."""
    seeds = {ext: folder / f"seed.{ext}" for ext in _FORMATS}
    for ext, seed in seeds.items():
        soundfile.write(seed, make_song(2.0).mix, 44_100)
        media = mediafile.MediaFile(seed)
        media.title, media.artist, media.album, media.track, media.year = "T", "A", "B", 3, 1999
        media.save()
        del ext
    for number in range(files):
        artist, album, track = number // 100, number // _A_FOLDER % 10, number % _A_FOLDER
        place = folder / "library" / f"Artist {artist:03}" / f"Album {album}"
        if track == 0:
            place.mkdir(parents=True)
            (place / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
        ext = _FORMATS[number % len(_FORMATS)]
        shutil.copyfile(seeds[ext], place / f"{track:02} Song.{ext}")


def enter_as_done(library: Path, output: Path) -> None:
    """Write small stems for every file, and a journal that knows them."""
    state, settings = OutputLayout(output), Settings()
    request = BatchRequest(
        inputs=(library,),
        listed=(),
        output=output,
        template=Template.parse(DEFAULT_NAME),
        settings=settings,
        limits=Limits(),
        jobs=None,
        overwrite=False,
        retry_failed=False,
        order="given",
        deadline=None,
        on_battery="run",
        keep_awake=False,
        start_method="forkserver",
        version=__version__,
    )
    batch_plan = plan_batch(scan([library], output), request, None)
    state.folder.mkdir(parents=True)
    with Journal(state.journal, output) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")  # noqa: SLF001 - not what is measured
        journal.remember(batch_plan.looks)
        entries = [
            Entry(
                job=one.planned.job,
                wanted=wanted_of(one.planned, request.redo_policy),
                predicted_seconds=one.planned.probe.likely_seconds,
                state=JobState.WAITING,
            )
            for one in batch_plan.tracks
        ]
        journal.begin_run(settings, entries, version=__version__)
        attempt = Attempt(number=1, resources=Resources(), reason=Reason.DONE, seconds=10.0)
        for entry in entries:
            job, work = entry.job, entry.job.destination_path
            journal.attempt_begins(
                job, settings, Resources(), number=1, staging_folder=work, preloaded=True
            )
            work.mkdir(parents=True)
            moves = {path.name: path for path in job.paths.values()}
            for path in moves.values():
                path.write_bytes(b"stem")
            coming = coming_stems(work, moves, output)
            journal.publishing(job, coming, overwrite=True)  # they lie there already
            journal.settled(Outcome(job=job, reason=Reason.DONE, attempts=(attempt,)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    files = parser.parse_args().files
    print(environment())
    print(f"\n{files:,} files\n\n| run | wall, s | peak memory, MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_library(folder, files)
        library, output = folder / "library", folder / "out"
        separate: list[str | Path] = [COMMAND, "separate", library, "-o", output]
        run = measure([*separate, "--dry-run"], folder)
        print(f"| plan (`--dry-run`) | {run.wall_seconds:.2f} | {run.peak_bytes / 2**20:.0f} |")
        enter_as_done(library, output)
        os.sync()
        rows: tuple[tuple[str, list[str | Path]], ...] = (
            ("again, with nothing to do", separate),
            ("its plan (`--dry-run`)", [*separate, "--dry-run"]),
            ("`stemsplit status`", [COMMAND, "status", output]),
        )
        for title, command in rows:
            run = measure(command, folder)
            print(f"| {title} | {run.wall_seconds:.2f} | {run.peak_bytes / 2**20:.0f} |")


if __name__ == "__main__":
    main()
