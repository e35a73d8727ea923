"""Kills batches over a small library and resumes them; for a longer campaign, run it as a program:

    python tests/faults/campaign.py --kills 200
    python tests/faults/campaign.py --kills 40 --library FOLDER --engine real
    python tests/faults/campaign.py --trouble full --kills 40        (needs root: a small disk)
    python tests/faults/campaign.py --trouble read-only --kills 40

A process of each run is killed at a random moment: the supervisor, one of its children, both, or a
helper process (the fork server, the watchdog or the resource tracker). One time in three the kill
waits for the journal's next commit. Or the run is disturbed: it is stopped for longer than children
may be silent, its clock jumps, its temporary files are removed, or its output folder is renamed
until the run has ended. Meanwhile a thread compares the visible tracks with a reference: each must
be complete and have the same content. After each kill the journal must open and be intact. When a
library is finished, each track must have been finished exactly once, without leftovers; then the
next library begins. With `--trouble` nothing is killed. Instead, the disk is filled or the output
folder is made read-only at a random moment. The run must exit with code 1 and a message, and
continue when the trouble is over.
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
TARGETS = ("supervisor", "child", "both")
HELPERS = {"fork server": "forkserver", "watchdog": "watchdog.py", "tracker": "resource_tracker"}
"""Helper processes of a supervisor, and a word of their command lines."""

DISTURBANCES = ("stopped", "clock", "temporary files removed", "output renamed")
FATAL = {"supervisor", "both", "output renamed"}
"""A run does not finish its library after these."""

STALL_SECONDS = 2.0
STOPPED_SECONDS = 3.0


def run_batch(library: str, output: str, engine: str) -> int:
    """Separate a library; the main function of the process that is killed."""
    import stemsplit

    _install_clock_jump()
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


def _install_clock_jump() -> None:
    """Make `time.time` jump by up to a day, forwards or backwards, on SIGUSR2."""
    real, offset = time.time, 0.0

    def jump(_number: int, _frame: object) -> None:
        nonlocal offset
        offset = random.uniform(-86_400.0, 86_400.0)  # noqa: S311 - not for security

    signal.signal(signal.SIGUSR2, jump)
    time.time = lambda: real() + offset


def make_library(folder: Path) -> None:
    """Write eight tracks of 2 to 45 seconds, half of them in a subfolder."""
    song = make_song(5.0).mix
    lengths = (2, 45, 12, 30, 5, 24, 3, 18)
    for number, seconds in enumerate(lengths):
        path = folder / ("album" if number % 2 else ".") / f"{number} song.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        copies = -(-seconds // 5)
        soundfile.write(path, np.tile(song, (copies, 1)), 44_100)


def start_run(
    library: Path,
    output: Path,
    engine: str,
    *,
    unprivileged: bool = False,
    temporary: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a run in a new process; `unprivileged` drops root's right to ignore permissions."""
    command: list[str | Path] = [sys.executable, __file__, "--run", library, output, engine]
    if unprivileged and os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    # The child inherits this until it installs its handler, so that an early signal is harmless.
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


def visible_tracks(output: Path) -> Iterator[Path]:
    """Yield the folders that contain files, except hidden ones."""
    for folder, folders, files in os.walk(output):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if files:
            yield Path(folder)


def hashes(track: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a track."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in track.iterdir()}


@dataclass
class Watcher:
    """Checks an output folder continuously for incomplete or wrong tracks."""

    expected: dict[str, dict[str, str]]
    violations: list[str] = field(default_factory=list)
    checks: int = 0
    _correct: set[tuple[int, int]] = field(default_factory=set)

    def check(self, output: Path) -> None:
        """Check once; a correct track is not read again until it changes."""
        self.checks += 1
        with contextlib.suppress(FileNotFoundError):
            for track in visible_tracks(output):
                name = str(track.relative_to(output))
                status = track.stat()
                if (status.st_ino, status.st_mtime_ns) in self._correct:
                    continue
                if hashes(track) == self.expected.get(name):
                    self._correct.add((status.st_ino, status.st_mtime_ns))
                else:
                    self.violations.append(
                        f"{name}: {sorted(file.name for file in track.iterdir())}"
                    )

    @contextlib.contextmanager
    def watching(self, output: Path) -> Iterator[None]:
        """Check the folder continuously inside the `with` block."""
        done = threading.Event()

        def check_until_done() -> None:
            while not done.wait(0.002):
                self.check(output)

        thread = threading.Thread(target=check_until_done)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def kill(supervisor: subprocess.Popen[bytes], target: str, rng: random.Random) -> bool:
    """Kill a target; return whether it existed."""
    victims: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(supervisor.pid)
        if target in HELPERS:
            victims = [
                child
                for child in process.children()
                if HELPERS[target] in " ".join(child.cmdline())
            ]
        elif target != "supervisor":
            helpers = process.children()
            workers = [child for helper in helpers for child in helper.children()]
            victims += [rng.choice(workers)] if workers else []
        if target in {"supervisor", "both"}:
            victims.append(process)
    for victim in victims:
        with contextlib.suppress(psutil.Error):
            victim.kill()
    return bool(victims)


def disturb(
    supervisor: subprocess.Popen[bytes], disturbance: str, output: Path, temporary: Path
) -> bool:
    """Disturb a run without killing it; return whether that was possible."""
    if disturbance == "stopped":
        supervisor.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        supervisor.send_signal(signal.SIGCONT)
    elif disturbance == "clock":
        supervisor.send_signal(signal.SIGUSR2)
    elif disturbance == "temporary files removed":
        for path in temporary.iterdir():
            shutil.rmtree(path, ignore_errors=True)
    else:
        if not (output / ".stemsplit" / "journal.sqlite3").exists():
            return False  # the run would start again in a new folder
        output.rename(renamed(output))
    return True


def renamed(output: Path) -> Path:
    """Return the path of an output folder while it is renamed."""
    return output.with_name(f"{output.name} moved")


def restore_name(output: Path) -> None:
    """Undo the renaming of an output folder; the run must not have created another one."""
    moved = renamed(output)
    if moved.exists():
        assert not output.exists(), [*output.rglob("*")]
        moved.rename(output)


def wait_for_commit(supervisor: subprocess.Popen[bytes], output: Path) -> bool:
    """Wait up to 2 s until SQLite's rollback journal exists; return whether it does."""
    path = output / ".stemsplit" / "journal.sqlite3-journal"
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and supervisor.poll() is None:
        if path.exists():
            return True
    return False


@contextlib.contextmanager
def full_disk(output: Path) -> Iterator[None]:
    """Fill the disk of an output folder inside the `with` block."""
    filler = output.parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**18))
    yield
    filler.unlink()


@contextlib.contextmanager
def read_only(output: Path) -> Iterator[None]:
    """Make an output folder and its subfolders read-only inside the `with` block."""
    for mode in (0o555, 0o755):
        folders = [output, *(path for path in output.rglob("*") if path.is_dir())]
        for folder in folders if output.exists() else []:
            with contextlib.suppress(FileNotFoundError):  # a staging folder that was just renamed
                folder.chmod(mode)
        if mode == 0o555:
            yield


TROUBLES = {"full": (full_disk, "full"), "read-only": (read_only, "cannot be written")}


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk; raises `OSError` if that fails."""
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
    """Check that another program can open the journal, and that all finished tracks exist."""
    path = output / ".stemsplit" / "journal.sqlite3"
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if database.execute("PRAGMA user_version").fetchone() == (0,):
            return
        for (path_below,) in database.execute("SELECT place FROM jobs WHERE state = 'done'"):
            assert (output / os.fsdecode(path_below)).exists(), path_below


def check_finished(output: Path, expected: dict[str, dict[str, str]]) -> None:
    """Check that each track is correct and was finished exactly once, without leftovers."""
    found = {str(track.relative_to(output)): hashes(track) for track in visible_tracks(output)}
    assert found == expected
    assert not list(output.rglob(".stemsplit-*")), "staging folders are left"
    path = output / ".stemsplit" / "journal.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as database:
        finished = database.execute(
            "SELECT job, count(*) FROM attempts WHERE reason = 'done' GROUP BY job"
        ).fetchall()
        states = database.execute("SELECT DISTINCT state FROM jobs").fetchall()
    assert [count for _, count in finished] == [1] * len(expected), "a track was separated twice"
    assert states == [("done",)]


@dataclass
class CampaignResult:
    """Counts of a campaign."""

    kills: Counter[str] = field(default_factory=Counter)
    in_state: Counter[str] = field(default_factory=Counter)
    during_commit: int = 0
    libraries: int = 0
    tracks: int = 0
    attempts: int = 0
    checks: int = 0
    completed_by_next_run: int = 0


def state_of(output: Path) -> str:
    """Return the most advanced unfinished state of any track in the journal."""
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
) -> CampaignResult:
    """Kill or disturb `kills` runs, and check the results.

    Args:
        folder: folder for the library, the reference and, without a disk, the outputs.
        kills: number of kills, disturbances or troubles.
        engine: `module:function`, or the name of an engine.
        seed: seed of the random choices.
        library: folder of tracks; None to generate one.
        trouble: `full` or `read-only` instead of kills.
        disk: folder for the outputs.

    Raises:
        AssertionError: at the first wrong result.
    """
    rng = random.Random(seed)  # noqa: S311 - reproducible, not for security
    if library is None:
        library = folder / "library"
        make_library(library)
    began = time.monotonic()
    assert run_to_end(library, folder / "reference", engine) == 0
    longest = time.monotonic() - began
    expected = {
        str(track.relative_to(folder / "reference")): hashes(track)
        for track in visible_tracks(folder / "reference")
    }
    assert all(set(files) == STEMS for files in expected.values())
    result = CampaignResult()
    while sum(result.kills.values()) < kills:
        output = (disk or folder) / f"output {result.libraries}"
        watcher = Watcher(expected)
        with watcher.watching(output):
            while not (
                run_and_trouble(library, output, engine, rng.uniform(0.1, longest), trouble, result)
                if trouble
                else run_and_kill(library, output, engine, longest, rng, result)
            ):
                check_journal(output)
        assert not watcher.violations, watcher.violations[:5]
        check_finished(output, expected)
        result.libraries += 1
        result.tracks += len(expected)
        result.checks += watcher.checks
        with contextlib.closing(sqlite3.connect(output / ".stemsplit/journal.sqlite3")) as database:
            result.attempts += database.execute("SELECT count(*) FROM attempts").fetchone()[0]
            result.completed_by_next_run += database.execute(
                "SELECT count(*) FROM attempts WHERE reason = 'done' AND message != ''"
            ).fetchone()[0]
        if disk is not None:
            shutil.rmtree(output)
    temporary = folder / "temporary files"
    if temporary.exists():
        assert run_to_end(library, folder / "last", engine, temporary) == 0
        assert not [*temporary.iterdir()]
    return result


def run_and_trouble(
    library: Path, output: Path, engine: str, delay: float, trouble: str, result: CampaignResult
) -> bool:
    """Run a batch, and begin a trouble after `delay` seconds; return whether it has finished."""
    troubled, expected_word = TROUBLES[trouble]
    with start_run(library, output, engine, unprivileged=True) as process:
        assert process.stderr is not None
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            with troubled(output):
                result.kills[trouble] += 1
                code = process.wait(60)
                result.in_state[state_of(output)] += code != 0
        error = process.stderr.read().decode()
        code = process.wait()
        assert code in {0, 1}, f"{code}: {error}"
        assert (code == 0) or expected_word in error, error
        assert "Traceback" not in error, error
        return code == 0


def run_to_end(library: Path, output: Path, engine: str, temporary: Path | None = None) -> int:
    """Run a batch without disturbing it; return its exit code."""
    with start_run(library, output, engine, temporary=temporary) as process:
        return process.wait()


def run_and_kill(
    library: Path,
    output: Path,
    engine: str,
    longest: float,
    rng: random.Random,
    result: CampaignResult,
) -> bool:
    """Run a batch, and kill or disturb it at a random moment; return whether it has finished."""
    temporary = output.with_name("temporary files")
    temporary.mkdir(exist_ok=True)
    with start_run(library, output, engine, temporary=temporary) as process:
        assert process.stderr is not None
        target = rng.choice((*TARGETS, *HELPERS, *DISTURBANCES))
        is_done = False
        try:
            process.wait(rng.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            if rng.random() < 1 / 3:
                result.during_commit += wait_for_commit(process, output)
            if target in DISTURBANCES:
                is_done = disturb(process, target, output, temporary)
            else:
                is_done = kill(process, target, rng)
            result.kills[target] += is_done
        error = process.stderr.read().decode()
        code = process.wait()
        restore_name(output)
        if is_done and target in FATAL:
            result.in_state[state_of(output)] += 1
        if target == "output renamed":
            assert "Traceback" not in error, error
            assert code in {0, 1, 3}, f"{code}: {error}"
        else:
            assert code in {0, -9}, f"{target}, {code}: {error}"
        assert_no_leftovers(temporary)
        return code == 0


def assert_no_leftovers(temporary: Path) -> None:
    """Check that no process and no temporary file of a finished run is left.

    Multiprocessing's folder is left if the run was killed after its pool had ended; the next run
    removes it.
    """
    deadline = time.monotonic() + 20
    while left := [*temporary.glob("stemsplit-*"), *processes_of(temporary)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def processes_of(temporary: Path) -> list[psutil.Process]:
    """Return the processes of a run, found by their `TMPDIR`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_own = process.environ().get("TMPDIR") == str(temporary)
            if is_own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def main() -> None:
    """Run a campaign, and print its counts as JSON."""
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
        result = campaign(
            folder,
            options.kills,
            seed=options.seed,
            library=options.library,
            engine=engine,
            trouble=options.trouble,
            disk=disk,
        )
    print(json.dumps(vars(result) | {"seconds": round(time.monotonic() - began)}, indent=2))


if __name__ == "__main__":
    main()
