"""A campaign of kills over a small library, each resumed; run it at length as a program:

    python tests/faults/campaign.py --kills 200
    python tests/faults/campaign.py --kills 40 --library FOLDER --engine real
    python tests/faults/campaign.py --trouble full --kills 40        (needs root: a small disk)
    python tests/faults/campaign.py --trouble read-only --kills 40

Each run is killed at a random moment: its supervisor, one of its children, both, or one of the
processes that serve it, the fork server, the watchdog and the resource tracker; one time in three
not at once, but in the midst of the journal's next commit. Or it is disturbed: stopped for longer
than children may be silent, its clock jumps, its temporary files are removed, its output folder is
renamed and, when it has ended, given its name back. All the while a thread looks at
the output folder: a track that is to be seen must be whole and right, by content. After each kill
the journal must open and be sound. When a library is finished, every track must have been finished
once, and nothing else may be left; then the next one is begun. With `--trouble` a run is not
killed: its disk is filled, or its folder made read-only, at a random moment; it must end with exit
code 1 and a sentence, and go on when that is mended.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import soundfile

from stemsplit.api.demo.song import make_song

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
REAL = "auto"
STEMS = {"vocals.wav", "accompaniment.wav"}
WHOM = ("supervisor", "child", "both")
SERVANTS = {"fork server": "forkserver", "watchdog": "warden", "tracker": "resource_tracker"}
"""What serves a supervisor, and what of its command line tells it."""

DISTURBANCES = ("stopped", "clock", "temporary files removed", "output renamed")
ENDS_IT = {"supervisor", "both", "output renamed"}
"""After these a run does not come to its end."""

STALL_SECONDS = 2.0
STOPPED_SECONDS = 3.0


def run_batch(library: str, output: str, engine: str) -> int:
    """Separate a library, as the killed process does."""
    import stemsplit

    _let_the_clock_jump()
    limits = stemsplit.Limits.parse(stall_timeout=STALL_SECONDS)
    settings = stemsplit.Settings(engine=engine)
    try:
        result = stemsplit.separate([library], output, settings, jobs=2, limits=limits)
    except stemsplit.StemsplitError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    for outcome in result.failures:
        print(outcome.message, file=sys.stderr)
    return int(result.exit_code)


def _let_the_clock_jump() -> None:
    """Put the clock on the wall forth and back by up to a day, on SIGUSR2."""
    real, offset = time.time, 0.0

    def jump(_number: int, _frame: object) -> None:
        nonlocal offset
        offset = random.uniform(-86_400.0, 86_400.0)  # noqa: S311 - nothing depends on it

    signal.signal(signal.SIGUSR2, jump)
    time.time = lambda: real() + offset


def make_library(folder: Path) -> None:
    """Make eight tracks of 2 to 45 seconds, some of them in folders."""
    song = make_song(5.0).mix
    lengths = (2, 45, 12, 30, 5, 24, 3, 18)
    for number, seconds in enumerate(lengths):
        path = folder / ("album" if number % 2 else ".") / f"{number} song.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        copies = -(-seconds // 5)
        soundfile.write(path, np.tile(song, (copies, 1)), 44_100)


def start(
    library: Path,
    output: Path,
    engine: str,
    *,
    as_anybody: bool = False,
    temporary: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a run in a process of its own, one that permissions mean something to if wanted."""
    command: list[str | Path] = [sys.executable, __file__, "--run", library, output, engine]
    if as_anybody and os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    # Ignored until it handles it: a clock that jumps before it has begun is no matter.
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        return subprocess.Popen(
            command,
            env=os.environ
            | {"PYTHONPATH": str(HERE)}
            | ({} if temporary is None else {"TMPDIR": str(temporary)}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGUSR2, before)


def tracks_in(output: Path) -> Iterator[Path]:
    """Give the folders that a person sees which hold files, and nothing that is hidden."""
    for folder, folders, files in os.walk(output):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if files:
            yield Path(folder)


def content(track: Path) -> dict[str, str]:
    """Give the hash of each file of a track."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in track.iterdir()}


@dataclass
class Watcher:
    """Looks at an output folder all the time, for tracks that are not whole or not right."""

    expected: dict[str, dict[str, str]]
    violations: list[str] = field(default_factory=list)
    looks: int = 0
    _known: set[tuple[int, int]] = field(default_factory=set)

    def look(self, output: Path) -> None:
        """Look once; what was found right is not read again while it is unchanged."""
        self.looks += 1
        with contextlib.suppress(FileNotFoundError):
            for track in tracks_in(output):
                name = str(track.relative_to(output))
                status = track.stat()
                if (status.st_ino, status.st_mtime_ns) in self._known:
                    continue
                if content(track) == self.expected.get(name):
                    self._known.add((status.st_ino, status.st_mtime_ns))
                else:
                    self.violations.append(
                        f"{name}: {sorted(file.name for file in track.iterdir())}"
                    )

    @contextlib.contextmanager
    def over(self, output: Path) -> Iterator[None]:
        """Look all the time within this."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.002):
                self.look(output)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def kill(supervisor: subprocess.Popen[bytes], whom: str, rng: random.Random) -> bool:
    """Kill; give whether there was what was to be killed."""
    victims: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(supervisor.pid)
        if whom in SERVANTS:
            victims = [
                one for one in process.children() if SERVANTS[whom] in " ".join(one.cmdline())
            ]
        elif whom != "supervisor":
            servants = process.children()
            workers = [child for servant in servants for child in servant.children()]
            victims += [rng.choice(workers)] if workers else []
        if whom in {"supervisor", "both"}:
            victims.append(process)
    for victim in victims:
        with contextlib.suppress(psutil.Error):
            victim.kill()
    return bool(victims)


def disturb(supervisor: subprocess.Popen[bytes], how: str, output: Path, temporary: Path) -> bool:
    """Make trouble that is no kill; give whether there was what was to be disturbed."""
    if how == "stopped":
        supervisor.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        supervisor.send_signal(signal.SIGCONT)
    elif how == "clock":
        supervisor.send_signal(signal.SIGUSR2)
    elif how == "temporary files removed":
        for path in temporary.iterdir():
            shutil.rmtree(path, ignore_errors=True)
    else:
        if not (output / ".stemsplit" / "journal.sqlite3").exists():
            return False  # it would be begun anew, in a folder of its own
        output.rename(moved_place(output))
    return True


def moved_place(output: Path) -> Path:
    """Give where an output folder is while it is renamed."""
    return output.with_name(f"{output.name} moved")


def bring_back(output: Path) -> None:
    """Give a renamed folder its name back; nothing may have been made in its place."""
    moved = moved_place(output)
    if moved.exists():
        assert not output.exists(), [*output.rglob("*")]
        moved.rename(output)


def wait_for_a_commit(supervisor: subprocess.Popen[bytes], output: Path) -> bool:
    """Wait until SQLite has its rollback journal open; give whether that came."""
    path = output / ".stemsplit" / "journal.sqlite3-journal"
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and supervisor.poll() is None:
        if path.exists():
            return True
    return False


@contextlib.contextmanager
def full(output: Path) -> Iterator[None]:
    """Fill the disk of an output folder within this."""
    filler = output.parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**18))
    yield
    filler.unlink()


@contextlib.contextmanager
def read_only(output: Path) -> Iterator[None]:
    """Make an output folder read-only within this, with the folders in it."""
    for mode in (0o555, 0o755):
        folders = [output, *(path for path in output.rglob("*") if path.is_dir())]
        for folder in folders if output.exists() else []:
            with contextlib.suppress(FileNotFoundError):  # a work folder that was just renamed
                folder.chmod(mode)
        if mode == 0o555:
            yield


TROUBLES = {"full": (full, "full"), "read-only": (read_only, "cannot be written")}


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a small disk; raises `OSError` where none can be mounted."""
    disk = folder / "disk"
    disk.mkdir()
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        raise OSError("mounting a small disk needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def check_journal(output: Path) -> None:
    """Open the journal as another program would, and compare it with what is there."""
    path = output / ".stemsplit" / "journal.sqlite3"
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if database.execute("PRAGMA user_version").fetchone() == (0,):
            return
        for (place,) in database.execute("SELECT place FROM jobs WHERE state = 'done'"):
            assert (output / os.fsdecode(place)).exists(), place


def check_finished(output: Path, expected: dict[str, dict[str, str]]) -> None:
    """Everything is there and right, was finished once, and nothing else is left."""
    found = {str(track.relative_to(output)): content(track) for track in tracks_in(output)}
    assert found == expected
    assert not list(output.rglob(".stemsplit-*")), "work folders are left"
    path = output / ".stemsplit" / "journal.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        finished = database.execute(
            "SELECT job, count(*) FROM attempts WHERE reason = 'done' GROUP BY job"
        ).fetchall()
        states = database.execute("SELECT DISTINCT state FROM jobs").fetchall()
    assert [count for _, count in finished] == [1] * len(expected), "a track was done twice"
    assert states == [("done",)]


@dataclass
class ProgressTracker:
    """What a campaign has come to."""

    kills: Counter[str] = field(default_factory=Counter)
    in_state: Counter[str] = field(default_factory=Counter)
    at_a_commit: int = 0
    libraries: int = 0
    tracks: int = 0
    attempts: int = 0
    looks: int = 0
    completed_by_next_run: int = 0


def state_of(output: Path) -> str:
    """Say what the journal says of the most advanced track that was in flight."""
    path = output / ".stemsplit" / "journal.sqlite3"
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            states = {state for (state,) in database.execute("SELECT DISTINCT state FROM jobs")}
    except sqlite3.Error:
        return "before the journal"
    for state in ("publishing", "running", "waiting"):
        if state in states:
            return state
    return "all done" if states else "before the journal"


def campaign(
    folder: Path,
    kills: int,
    *,
    engine: str,
    seed: int = 0,
    library: Path | None = None,
    trouble: str | None = None,
    disk: Path | None = None,
) -> ProgressTracker:
    """Kill or trouble so many runs; raises `AssertionError` at the first thing that is wrong.

    Args:
        folder: takes the library, the reference and, unless there is a disk, the outputs.
        kills: how many.
        engine: as `module:function`.
        seed: of the moments.
        library: made if None.
        trouble: `full` or `read-only` instead of kills.
        disk: takes the outputs.
    """
    rng = random.Random(seed)  # noqa: S311 - a campaign that can be repeated
    if library is None:
        library = folder / "library"
        make_library(library)
    began = time.monotonic()
    assert run_to_end(library, folder / "reference", engine) == 0
    longest = time.monotonic() - began
    expected = {
        str(track.relative_to(folder / "reference")): content(track)
        for track in tracks_in(folder / "reference")
    }
    assert all(set(files) == STEMS for files in expected.values())
    tracker = ProgressTracker()
    while sum(tracker.kills.values()) < kills:
        output = (disk or folder) / f"output {tracker.libraries}"
        watcher = Watcher(expected)
        with watcher.over(output):
            while not (
                run_and_trouble(
                    library, output, engine, rng.uniform(0.1, longest), trouble, tracker
                )
                if trouble
                else run_and_kill(library, output, engine, longest, rng, tracker)
            ):
                check_journal(output)
        assert not watcher.violations, watcher.violations[:5]
        check_finished(output, expected)
        tracker.libraries += 1
        tracker.tracks += len(expected)
        tracker.looks += watcher.looks
        with contextlib.closing(sqlite3.connect(output / ".stemsplit/journal.sqlite3")) as database:
            tracker.attempts += database.execute("SELECT count(*) FROM attempts").fetchone()[0]
            tracker.completed_by_next_run += database.execute(
                "SELECT count(*) FROM attempts WHERE reason = 'done' AND message != ''"
            ).fetchone()[0]
        if disk is not None:
            shutil.rmtree(output)
    temporary = folder / "temporary files"
    if temporary.exists():
        assert run_to_end(library, folder / "last", engine, temporary) == 0
        assert not [*temporary.iterdir()]
    return tracker


def run_and_trouble(
    library: Path, output: Path, engine: str, moment: float, trouble: str, tracker: ProgressTracker
) -> bool:
    """Run a batch, and make trouble after some seconds; give whether it came to its end."""
    make, word = TROUBLES[trouble]
    with start(library, output, engine, as_anybody=True) as process:
        assert process.stderr is not None
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            with make(output):
                tracker.kills[trouble] += 1
                code = process.wait(60)
                tracker.in_state[state_of(output)] += code != 0
        error = process.stderr.read().decode()
        code = process.wait()
        assert code in {0, 1}, f"{code}: {error}"
        assert (code == 0) or word in error, error
        assert "Traceback" not in error, error
        return code == 0


def run_to_end(library: Path, output: Path, engine: str, temporary: Path | None = None) -> int:
    """Run a batch that nobody kills."""
    with start(library, output, engine, temporary=temporary) as process:
        return process.wait()


def run_and_kill(
    library: Path,
    output: Path,
    engine: str,
    longest: float,
    rng: random.Random,
    tracker: ProgressTracker,
) -> bool:
    """Run a batch, and kill or disturb it at a random moment; give whether it came to its end."""
    temporary = output.with_name("temporary files")
    temporary.mkdir(exist_ok=True)
    with start(library, output, engine, temporary=temporary) as process:
        assert process.stderr is not None
        whom = rng.choice((*WHOM, *SERVANTS, *DISTURBANCES))
        is_done = False
        try:
            process.wait(rng.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            if rng.random() < 1 / 3:
                tracker.at_a_commit += wait_for_a_commit(process, output)
            if whom in DISTURBANCES:
                is_done = disturb(process, whom, output, temporary)
            else:
                is_done = kill(process, whom, rng)
            tracker.kills[whom] += is_done
        error = process.stderr.read().decode()
        code = process.wait()
        bring_back(output)
        if is_done and whom in ENDS_IT:
            tracker.in_state[state_of(output)] += 1
        if whom == "output renamed":
            assert "Traceback" not in error, error
            assert code in {0, 1, 3}, f"{code}: {error}"
        else:
            assert code in {0, -9}, f"{whom}, {code}: {error}"
        assert_nobody_is_left(temporary)
        return code == 0


def assert_nobody_is_left(temporary: Path) -> None:
    """No process of a run that has ended goes on, and none of its temporary files stays.

    But for multiprocessing's folder, if the run was killed when its pool had ended: that goes with
    the next run.
    """
    deadline = time.monotonic() + 20
    while left := [*temporary.glob("stemsplit-*"), *processes_of(temporary)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def processes_of(temporary: Path) -> list[psutil.Process]:
    """Find what a run has started, by the folder that it has in its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.environ().get("TMPDIR") == str(temporary)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--engine", default="fake_engines:half", help="or `real`")
    parser.add_argument("--trouble", choices=TROUBLES)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        sys.exit(run_batch(*options.run))
    engine = REAL if options.engine == "real" else options.engine
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        needs_disk = options.trouble == "full"
        disk = stack.enter_context(small_disk(folder, "160m")) if needs_disk else None
        tracker = campaign(
            folder,
            options.kills,
            seed=options.seed,
            library=options.library,
            engine=engine,
            trouble=options.trouble,
            disk=disk,
        )
    print(json.dumps(vars(tracker) | {"seconds": round(time.monotonic() - began)}, indent=2))


if __name__ == "__main__":
    main()
