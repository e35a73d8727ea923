"""Measure how long the HTML report of a large library takes to write and to open.

    python benchmarks/report_page.py --tracks 5000

The journal is synthetic: two stems with waveform overviews and one attempt with a time series of
its memory per track; one track in fifty has failed and has a log. Opens the page in Chromium if it
is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from common import COMMAND

from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.writer import Journal

MIB = 2**20
TRACKS_PER_ALBUM = 12
FAILURE_INTERVAL = 50


def make_journal(output: Path, tracks: int, *, jobs: int = 2) -> None:
    """Write the journal of one run with `tracks` tracks."""
    rng = random.Random(0)  # noqa: S311 - no secret
    layout = OutputLayout(output)
    layout.logs.mkdir(parents=True)
    with Journal(layout.journal, output):
        pass
    settings = json.dumps({"model": "2stems", "format": "wav", "bit_depth": "24", "tags": True})
    began, seconds = 1.8e9, tracks * 8.0 / jobs
    run_memory = {"step": 32.0, "values": [rng.uniform(600, 800) * MIB for _ in range(1200)]}
    with contextlib.closing(sqlite3.connect(layout.journal)) as database, database:
        database.execute(
            """
            INSERT INTO runs (began, ended, version, host, pid, settings, unrecorded, refused,
                overwrite, exit_code, seconds, audio_seconds, peak_memory_bytes, max_ram_bytes,
                memory)
            VALUES (?, ?, '0.1.0', 'laptop', 1, ?, 0, '[]', 0, 3, ?, ?, ?, ?, ?)
            """,
            (
                began,
                began + seconds,
                settings,
                seconds,
                tracks * 240.0,
                800 * MIB,
                2048 * MIB,
                json.dumps(run_memory),
            ),
        )
        for number in range(tracks):
            _add_track(database, layout, number, began + number * 8.0 / jobs, settings, rng)


def _add_track(
    database: sqlite3.Connection,
    layout: OutputLayout,
    number: int,
    began: float,
    settings: str,
    rng: random.Random,
) -> None:
    has_failed = number % FAILURE_INTERVAL == 0
    album = f"artist {number // 120}/album {number // TRACKS_PER_ALBUM}"
    name = f"{number:05} some song"
    log = layout.logs / f"{number}.1.log"
    if has_failed:
        log.write_text("A line of a log that describes an action of the child.\n" * 200)
    database.execute(
        """
        INSERT INTO jobs (place, run, source, source_bytes, source_modified_ns, settings, version,
            state, reason, message, remedy, predicted_seconds, audio_seconds)
        VALUES (?, 1, ?, 1, 1, ?, '0.1.0', ?, ?, ?, ?, 240, ?)
        """,
        (
            f"{album}/{name}/vocals.wav".encode(),
            f"/home/someone/Music/{album}/{name}.flac".encode(),
            settings,
            "failed" if has_failed else "done",
            "stalled" if has_failed else "done",
            "The child used neither CPU nor disk for 40.0 s." if has_failed else "",
            "Its log shows where it hung." if has_failed else "",
            None if has_failed else 240.0,
        ),
    )
    memory = {"step": 0.5, "values": [rng.uniform(150, 310) * MIB for _ in range(16)]}
    database.execute(
        """
        INSERT INTO attempts (job, run, number, began, work_folder, model, engine, threads, lean,
            alone, preloaded, reason, exit_code, seconds, audio_seconds, peak_pss_bytes,
            ram_cap_bytes, memory, log_file)
        VALUES (?, 1, 1, ?, '', '2stems', '', 1, 0, 0, 1, ?, 0, 7.9, 240, ?, ?, ?, ?)
        """,
        (
            number + 1,
            began,
            "stalled" if has_failed else "done",
            310 * MIB,
            644 * MIB,
            json.dumps(memory),
            str(log) if has_failed else None,
        ),
    )
    if has_failed:
        return
    for position, stem in enumerate(("vocals", "accompaniment")):
        path = f"{album}/{name}/{stem}.wav".encode()
        values = (path, number + 1, stem, position)
        database.execute("INSERT INTO stems VALUES (?, ?, 1, 1, ?, ?)", values)
        database.execute("INSERT INTO outlines VALUES (?, ?)", (path, rng.randbytes(330)))


def chromium() -> str | None:
    """Return the path of Chromium; None if it is not installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def open_in_chromium(page: Path) -> dict[str, float] | None:
    """Return seconds until the first tracks appear, and for a search; None without Chromium."""
    program = chromium()
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        tab = browser.new_page()
        began = time.perf_counter()
        tab.goto(page.as_uri())
        tab.locator("#track-list > li").first.wait_for()
        opened = time.perf_counter() - began
        began = time.perf_counter()
        tab.fill("#search", "artist 7 some 00900")
        while tab.locator("#track-list > li").count() != 1:
            time.sleep(0.005)
        searched = time.perf_counter() - began
        browser.close()
    return {"opened": opened, "searched": searched}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=5000)
    tracks = parser.parse_args().tracks
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "stems")
        make_journal(output, tracks)
        page = output / "report.html"
        began = time.perf_counter()
        subprocess.run([COMMAND, "report", output, "--html", page], check=True)
        written = time.perf_counter() - began
        print(f"{tracks:,} tracks: {page.stat().st_size / 1e6:.1f} MB, written in {written:.1f} s")
        times = open_in_chromium(page)
        if times is None:
            print("Chromium is not installed")
        else:
            print(f"opened in {times['opened']:.2f} s, search took {times['searched']:.2f} s")


if __name__ == "__main__":
    main()
