"""Time and memory for a library of ten thousand files: planning, and a run with nothing to do.

    python benchmarks/library.py                 # 10,000 files in 1,000 folders
    python benchmarks/library.py --files 50000

The files are real but short. Before the second run, the script records them as done in the journal,
because separating them would take hours.
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
from stemsplit.journal.job_records import JobEntry, JobState
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.stem_records import pending_stems
from stemsplit.journal.writer import Journal
from stemsplit.library.naming import DEFAULT_NAME, Template
from stemsplit.library.scan import scan

_FORMATS = ("mp3", "flac", "ogg", "wav")
_TRACKS_PER_ALBUM = 10


def make_library(folder: Path, files: int) -> None:
    """Create files in a folder per album (10 tracks, a cover) and per artist (10 albums)."""
    seeds = {ext: folder / f"seed.{ext}" for ext in _FORMATS}
    for seed in seeds.values():
        soundfile.write(seed, make_song(2.0).mix, 44_100)
        media = mediafile.MediaFile(seed)
        media.title, media.artist, media.album, media.track, media.year = "T", "A", "B", 3, 1999
        media.save()
    for number in range(files):
        album, track = divmod(number, _TRACKS_PER_ALBUM)
        artist, album = divmod(album, 10)
        album_folder = folder / "library" / f"Artist {artist:03}" / f"Album {album}"
        if track == 0:
            album_folder.mkdir(parents=True)
            (album_folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
        ext = _FORMATS[number % len(_FORMATS)]
        shutil.copyfile(seeds[ext], album_folder / f"{track:02} Song.{ext}")


def record_as_done(library: Path, output: Path) -> None:
    """Write a small file for each stem, and a journal that lists them as published."""
    layout, settings = OutputLayout(output), Settings()
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
    layout.folder.mkdir(parents=True)
    with Journal(layout.journal, output) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")  # noqa: SLF001 - not what is measured
        journal.record_probes(batch_plan.new_probes)
        entries = [
            JobEntry(
                job=track.planned.job,
                wanted=wanted_of(track.planned, request.redo_policy),
                predicted_seconds=track.planned.probe.likely_seconds,
                state=JobState.WAITING,
            )
            for track in batch_plan.tracks
        ]
        journal.begin_run(settings, entries, version=__version__)
        attempt = Attempt(number=1, resources=Resources(), reason=Reason.DONE, seconds=10.0)
        for entry in entries:
            job, folder = entry.job, entry.job.destination_path
            journal.begin_attempt(
                job, settings, Resources(), number=1, staging_folder=folder, preloaded=True
            )
            folder.mkdir(parents=True)
            moves = {path.name: path for path in job.paths.values()}
            for path in moves.values():
                path.write_bytes(b"stem")
            pending = pending_stems(folder, moves, output)
            journal.begin_publishing(job, pending, overwrite=True)  # they are already in place
            journal.record_outcome(Outcome(job=job, reason=Reason.DONE, attempts=(attempt,)))


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
        usage = measure([*separate, "--dry-run"], folder)
        row = f"{usage.wall_seconds:.2f} | {usage.peak_bytes / 2**20:.0f}"
        print(f"| dry run (`--dry-run`) | {row} |")
        record_as_done(library, output)
        os.sync()
        rows: tuple[tuple[str, list[str | Path]], ...] = (
            ("run with nothing to do", separate),
            ("dry run with nothing to do", [*separate, "--dry-run"]),
            ("`stemsplit status`", [COMMAND, "status", output]),
        )
        for title, command in rows:
            usage = measure(command, folder)
            print(f"| {title} | {usage.wall_seconds:.2f} | {usage.peak_bytes / 2**20:.0f} |")


if __name__ == "__main__":
    main()
