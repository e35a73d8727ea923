"""How long the page of `stemsplit report` takes to be made and to open, for a large library.

    python benchmarks/report_page.py --tracks 5000

The journal is made up: two stems a track with outlines, one attempt a track with its memory over
time, one failure in fifty with a log. The page is opened in Chromium, where that is installed.
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

from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.writer import Journal

MIB = 2**20
ALBUM = 12
FAILS_EVERY = 50


def make_journal(output: Path, tracks: int, *, jobs: int = 2) -> None:
    """Write the journal of a night that did so many tracks."""
    chance = random.Random(0)  # noqa: S311 - no secret
    state = OutputLayout(output)
    state.logs.mkdir(parents=True)
    with Journal(state.journal, output):
        pass
    settings = json.dumps({"model": "2stems", "format": "wav", "bit_depth": "24", "tags": True})
    began, seconds = 1.8e9, tracks * 8.0 / jobs
    night = {"step": 32.0, "values": [chance.uniform(600, 800) * MIB for _ in range(1200)]}
    with contextlib.closing(sqlite3.connect(state.journal)) as database, database:
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
                json.dumps(night),
            ),
        )
        for number in range(tracks):
            _add_track(database, state, number, began + number * 8.0 / jobs, settings, chance)


def _add_track(
    database: sqlite3.Connection,
    state: OutputLayout,
    number: int,
    began: float,
    settings: str,
    chance: random.Random,
) -> None:
    fails = number % FAILS_EVERY == 0
    album, name = f"artist {number // 120}/album {number // ALBUM}", f"{number:05} some song"
    log = state.logs / f"{number}.1.log"
    if fails:
        log.write_text("A line of a log that says something about what was done.\n" * 200)
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
            "failed" if fails else "done",
            "stalled" if fails else "done",
            "The child used neither processor nor disk for 40.0 s." if fails else "",
            "Its log shows where it stood." if fails else "",
            None if fails else 240.0,
        ),
    )
    memory = {"step": 0.5, "values": [chance.uniform(150, 310) * MIB for _ in range(16)]}
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
            "stalled" if fails else "done",
            310 * MIB,
            644 * MIB,
            json.dumps(memory),
            str(log) if fails else None,
        ),
    )
    if fails:
        return
    for place, stem in enumerate(("vocals", "accompaniment")):
        path = f"{album}/{name}/{stem}.wav".encode()
        values = (path, number + 1, stem, place)
        database.execute("INSERT INTO stems VALUES (?, ?, 1, 1, ?, ?)", values)
        database.execute("INSERT INTO outlines VALUES (?, ?)", (path, chance.randbytes(330)))


def chromium() -> str | None:
    """Find the browser; None if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def open_in_chromium(page: Path) -> dict[str, float] | None:
    """Give seconds until the first tracks can be seen, and those of a search; None without it."""
    program = chromium()
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        shown = browser.new_page()
        began = time.perf_counter()
        shown.goto(page.as_uri())
        shown.locator("#track-list > li").first.wait_for()
        opened = time.perf_counter() - began
        began = time.perf_counter()
        shown.fill("#search", "artist 7 some 00900")
        while shown.locator("#track-list > li").count() != 1:
            time.sleep(0.005)
        found = time.perf_counter() - began
        browser.close()
    return {"opened": opened, "found": found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tracks", type=int, default=5000)
    tracks = parser.parse_args().tracks
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "stems")
        make_journal(output, tracks)
        page = output / "report.html"
        began = time.perf_counter()
        subprocess.run([COMMAND, "report", output, "--html", page], check=True)
        made = time.perf_counter() - began
        print(f"{tracks:,} tracks: {page.stat().st_size / 1e6:.1f} MB, made in {made:.1f} s")
        times = open_in_chromium(page)
        if times is None:
            print("there is no Chromium to open it in")
        else:
            print(f"opened in {times['opened']:.2f} s, a search took {times['found']:.2f} s")


if __name__ == "__main__":
    main()
