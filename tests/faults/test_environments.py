"""The installed command where the system gives it little: it goes on, or says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
import pytest
import soundfile
from common import COMMAND

from stemsplit.core.child_entry import SESSION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.real,
    pytest.mark.usefixtures("real_models"),
    pytest.mark.skipif(os.name == "nt", reason="these are limits of Unix"),
]


class Ran(NamedTuple):
    """A script that has ended."""

    code: int
    out: str
    err: str


STEMS = {"vocals.wav", "accompaniment.wav"}
ENGINES = [
    "onnx",
    pytest.param(
        "tensorflow",
        marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="TensorFlow has no 3.12"),
    ),
]
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may set this up"
)


@pytest.fixture
def shell(tmp_path: Path, real_models: Path, song_file: Path) -> Callable[..., Ran]:
    """Run a script of the shell in a folder with a song; $S is the command."""
    shutil.copy(song_file, tmp_path / "song.wav")

    def run(script: str, **environment: str) -> Ran:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ
            | {"S": str(COMMAND), "STEMSPLIT_MODELS": str(real_models)}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        for unwanted in ("unforeseen", "Traceback"):
            assert unwanted not in done.stdout + done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def stems(folder: Path) -> set[str]:
    """Name what was made of the song."""
    track = folder / "out" / "song"
    return {path.name for path in track.iterdir()} if track.exists() else set()


def summary(folder: Path) -> dict[str, object]:
    """Read the summary of the last run."""
    found: dict[str, object] = json.loads((folder / "out/.stemsplit/summary.json").read_bytes())
    return found


@pytest.mark.parametrize("options", ["", "--json", "--verbose"])
@pytest.mark.parametrize("sink", ["> /dev/full", "| true"])
def test_output_that_cannot_be_written_ends_no_batch(
    shell: Callable[..., Ran], tmp_path: Path, options: str, sink: str
) -> None:
    """It goes on silently, says so on standard error and in the summary, and exits as it would."""
    ran = shell(f"$S separate song.wav none.wav -o out {options} {sink}; exit ${{PIPESTATUS[0]}}")
    assert ran.code == 3
    assert stems(tmp_path) == STEMS
    assert ran.err.count("standard output cannot be written") == 1
    assert "standard output cannot be written" in str(summary(tmp_path)["unshown"])


def test_a_terminal_that_is_closed_ends_no_batch(songs: Path) -> None:
    """As after `disown`, which keeps the hang-up away: what is written meets an error then."""
    ours, theirs = os.openpty()
    output = songs.parent / "out"
    running = subprocess.Popen(
        ["bash", "-c", 'trap \'\' HUP; exec "$0" separate "$1" -o "$2"', COMMAND, songs, output],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert running.wait(120) == 0
    assert len([*output.glob("*/vocals.wav")]) == 3
    assert "cannot be written" in str(summary(songs.parent)["unshown"])


def test_without_any_streams_it_works(shell: Callable[..., Ran], tmp_path: Path) -> None:
    """Closed as by a daemon: no file of the batch takes the number of one."""
    assert shell("$S separate song.wav -o out <&- >&- 2>&-").code == 0
    assert stems(tmp_path) == STEMS


def test_other_commands_say_that_they_cannot_print(shell: Callable[..., Ran]) -> None:
    """In a sentence, with exit code 1; a reader that has ended is none."""
    ran = shell("$S models list > /dev/full")
    assert ran.code == 1
    assert ran.err == ("stemsplit: Standard output cannot be written (No space left on device).\n")
    assert shell("$S models list | true").err == ""


_DIES = """\
import os, sys
if {name!r} in " ".join(sys.orig_argv):
    os._exit(1)
"""


@pytest.mark.parametrize("name", ["forkserver", "resource_tracker"])
def test_helpers_that_die_at_once_do_not_stop_a_batch(
    shell: Callable[..., Ran], tmp_path: Path, name: str
) -> None:
    """A fork server is started three times, then children are spawned; a tracker is replaced."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_DIES.format(name=name))
    ran = shell("$S separate song.wav -o out", PYTHONPATH=str(tmp_path / "site"))
    assert ran.code == 0, ran.err
    assert stems(tmp_path) == STEMS
    assert "resource_tracker" not in ran.err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_path_of_temporary_files(
    shell: Callable[..., Ran], tmp_path: Path, engine: str
) -> None:
    """Paths of sockets end at 108 bytes."""
    folder = tmp_path / ("x" * 150)
    folder.mkdir()
    ran = shell(f"$S separate song.wav -o out --engine {engine}", TMPDIR=str(folder))
    assert ran.code == 0, ran.err
    assert stems(tmp_path) == STEMS
    assert list(folder.iterdir()) == []


@pytest.fixture
def songs(song: NDArray[np.float32], tmp_path: Path) -> Path:
    """A folder of three songs of a minute."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", np.tile(song, (15, 1)), 44_100)
    return folder


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, whose path is short."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def batch(songs: Path, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a batch, given when its first track is being separated."""
    output = songs.parent / "out"
    command: list[str | Path] = [COMMAND, "separate", songs, "-o", output, "--json", "--jobs", "1"]
    with subprocess.Popen(
        [*command, *options],
        cwd=songs.parent,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if '"track_progress"' in line:
                break
        yield running
        running.kill()


def finish(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for its end; give exit code and what it has printed."""
    out, err = running.communicate(timeout=120)
    assert "Traceback" not in err, err
    return running.returncode, out + err


@pytest.mark.parametrize("engine", ENGINES)
def test_temporary_files_that_are_removed_in_the_middle(
    songs: Path, temporary: Path, engine: str
) -> None:
    """As by a cleaner of old files: a new folder, a new fork server, and nothing is lost."""
    with batch(songs, "--engine", engine, TMPDIR=str(temporary)) as running:
        for path in temporary.iterdir():
            shutil.rmtree(path)
        code, err = finish(running)
    assert code == 0, err
    assert len([*(songs.parent / "out").glob("*/vocals.wav")]) == 3
    assert list(temporary.iterdir()) == []


@needs_root
@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_of_temporary_files(
    songs: Path, mount: Callable[[str], Path], engine: str
) -> None:
    """That fills in the middle costs the logs; one that is full from the start is a sentence."""
    disk = mount("1m")
    with batch(songs, "--engine", engine, TMPDIR=str(disk)) as running:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4_096))
        code, err = finish(running)
    assert code == 0, err
    assert len([*(songs.parent / "out").glob("*/vocals.wav")]) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_few_open_files(shell: Callable[..., Ran], tmp_path: Path, engine: str) -> None:
    """Too few for one child are a sentence; too few for eight are fewer children."""
    ran = shell(f"ulimit -n 12; $S separate song.wav -o out --engine {engine}")
    assert ran.code == 1
    assert "Too many open files" in ran.err or "Too many files are open" in ran.err
    assert "ulimit -n 1024" in ran.err
    for number in range(8):
        shutil.copy(tmp_path / "song.wav", tmp_path / f"{number}.wav")
    ran = shell(f"ulimit -n 40; $S separate [0-7].wav -o out --jobs 8 --engine {engine}")
    assert ran.code == 0, ran.err
    assert len([*(tmp_path / "out").glob("*/vocals.wav")]) == 8


AS_NOBODY = "setpriv --reuid=54321 --regid=54321 --clear-groups"


@pytest.fixture
def open_folder(tmp_path: Path, real_models: Path) -> Iterator[Path]:
    """A folder that anybody may write to, the models included."""
    folder = Path(tempfile.mkdtemp(prefix="open", dir="/tmp"))
    shutil.copytree(real_models, folder / "models")
    shutil.copy(tmp_path / "song.wav", folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    yield folder
    shutil.rmtree(folder)


def _as_in(folder: Path) -> str:
    """Give what sets the folders of somebody who may use `open_folder` alone."""
    models = f"export STEMSPLIT_MODELS={folder}/models TMPDIR={folder} HOME={folder}"
    return f"{models}; unset XDG_CONFIG_HOME"


@needs_root
@pytest.mark.parametrize("engine", ENGINES)
def test_few_processes_no_home_and_no_name(
    shell: Callable[..., Ran], open_folder: Path, engine: str
) -> None:
    """A user that the system does not know, without a home folder, who may start little."""
    if shell(f"{AS_NOBODY} $S --version").code != 0:
        pytest.skip("the command lies where others may not go")
    inside = f"cd {open_folder}; {_as_in(open_folder)}"
    separate = f"$S separate song.wav -o out --engine {engine}"
    ran = shell(f"{inside}; unset HOME; {AS_NOBODY} {separate}")
    assert ran.code == 0, ran.err
    assert stems(open_folder) == STEMS
    ran = shell(f"{inside}; {AS_NOBODY} bash -c 'ulimit -u 3; {separate} --overwrite'")
    assert ran.code in {0, 1}, ran.err
    assert ran.code == 0 or "ulimit -u" in ran.err, ran.err


@needs_root
def test_without_proc_it_says_so(shell: Callable[..., Ran]) -> None:
    """Memory cannot be measured then, and no cap be held."""
    if shell("unshare -m true").code != 0:
        pytest.skip("no namespaces here")
    ran = shell("unshare -m bash -c 'mount -t tmpfs none /proc; $S separate song.wav -o out'")
    assert ran.code == 1
    assert "Mount /proc" in ran.err


def test_a_current_folder_that_is_gone(shell: Callable[..., Ran], tmp_path: Path) -> None:
    """One sentence, for every command."""
    for command in ("separate $OLDPWD/song.wav -o $OLDPWD/out", "status out", "models list"):
        ran = shell(f"mkdir gone; cd gone; rmdir ../gone; $S {command}")
        assert ran.code == 2
        assert ran.err.startswith("stemsplit: The current folder cannot be used")
    assert not (tmp_path / "out").exists()


@needs_root
def test_a_folder_that_becomes_immutable(songs: Path) -> None:
    """Its tracks fail with a sentence; what could not be removed goes with the next run."""
    output = songs.parent / "out"
    output.mkdir()

    def change(flag: str) -> int:
        return subprocess.run(["chattr", flag, output], capture_output=True, check=False).returncode

    if change("+i") != 0 or change("-i") != 0:
        pytest.skip("this file system has no such flag")
    with batch(songs) as running:
        change("+i")
        try:
            code, err = finish(running)
        finally:
            change("-i")
    assert code == 1, err
    assert "cannot be written" in err
    done = subprocess.run([COMMAND, "separate", songs, "-o", output], check=False)
    assert done.returncode == 0
    assert not list(output.glob(".stemsplit-*"))
    assert len([*output.glob("*/vocals.wav")]) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_is_too_large_for_its_disk(shell: Callable[..., Ran], engine: str) -> None:
    """As with FAT after 4 GiB: it says so, and names the format whose files are smaller."""
    ran = shell(f"ulimit -f 400; $S separate song.wav -o out --engine {engine}")
    assert ran.code == 3
    assert "too large for this disk" in ran.err
    assert "--format flac" in ran.err


def servants(supervisor: int) -> dict[str, psutil.Process]:
    """Find the processes that serve a supervisor, by what they are."""
    found = {}
    for child in psutil.Process(supervisor).children():
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:  # it is just ending
            continue
        for kind in ("forkserver", "resource_tracker", "warden"):
            if kind in line:
                found[kind] = child
    return found


def test_a_watchdog_that_dies_is_replaced(songs: Path) -> None:
    """So that the supervisor's death still ends everything."""
    with batch(songs) as running:
        first = servants(running.pid)["warden"]
        first.kill()
        deadline = time.monotonic() + 20
        while servants(running.pid).get("warden") in {None, first}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = psutil.Process(running.pid).children(recursive=True)
        running.kill()
        _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_nothing_stays_behind_after_a_kill(songs: Path, temporary: Path) -> None:
    """Neither a folder of sockets nor the session's; after a kill of the watchdog too, with the
    next run.
    """
    with batch(songs, TMPDIR=str(temporary)) as running:
        family = psutil.Process(running.pid).children(recursive=True)
        running.kill()
        psutil.wait_procs(family, timeout=20)
    assert list(temporary.iterdir()) == []
    with batch(songs, "--overwrite", TMPDIR=str(temporary)) as running:
        family = psutil.Process(running.pid).children(recursive=True)
        servants(running.pid)["warden"].kill()
        running.kill()
        psutil.wait_procs(family, timeout=20)
    left = {path.name.partition("-")[0] for path in temporary.iterdir()}
    assert "stemsplit" in left
    with batch(songs, "--overwrite", TMPDIR=str(temporary)) as running:
        assert finish(running)[0] == 0
    assert [path for path in temporary.iterdir() if path.name.startswith("stemsplit")] == []


@needs_root
def test_a_colleague_goes_on(shell: Callable[..., Ran], open_folder: Path) -> None:
    """In a folder of their group: what the first has made the second can write."""
    if shell(f"{AS_NOBODY} $S --version").code != 0:
        pytest.skip("the command lies where others may not go")
    output = open_folder / "out"
    output.mkdir()
    os.chown(output, 60_001, 60_000)
    output.chmod(0o2775)
    inside = f"cd {open_folder}; {_as_in(open_folder)}; umask 002"
    for user in (60_001, 60_002):
        as_user = f"setpriv --reuid={user} --regid=60000 --clear-groups"
        ran = shell(f"{inside}; {as_user} $S convert song.wav -o out --format flac --overwrite")
        assert ran.code == 0, ran.err
        ran = shell(f"{inside}; {as_user} $S separate song.wav missing.wav -o out --overwrite")
        assert ran.code == 3, ran.err
    for path in (output / ".stemsplit").iterdir():
        assert path.stat().st_gid == 60_000
        assert path.stat().st_mode & stat.S_IWGRP, path


def test_files_of_one_s_own_stay_one_s_own(shell: Callable[..., Ran], tmp_path: Path) -> None:
    """Where the output folder is not shared."""
    assert shell("umask 022; $S convert song.wav -o out --format flac").code == 0
    for path in (tmp_path / "out" / ".stemsplit").iterdir():
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


_TELLS_WHEN_IT_HANDLES_INTERRUPTS = """\
import os, signal
set_handler = signal.signal

def tell(number, handler):
    before = set_handler(number, handler)
    if number == signal.SIGINT and "TELLS" in os.environ:
        os.write(int(os.environ.pop("TELLS")), b"!")
    return before

signal.signal = tell
"""


@pytest.mark.parametrize("command", [["separate", "song.wav", "-o", "out"], ["models", "list"]])
def test_an_early_interrupt_prints_no_traceback(
    shell: Callable[..., Ran], tmp_path: Path, command: list[str]
) -> None:
    """Ctrl-C at any moment of the first half second, once Python has started the program."""
    del shell
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_TELLS_WHEN_IT_HANDLES_INTERRUPTS)
    codes = set()
    for hundredths in range(0, 48, 3):
        reader, writer = os.pipe()
        with subprocess.Popen(
            [COMMAND, *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "TELLS": str(writer)},
            pass_fds=(writer,),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running:
            os.close(writer)
            assert os.read(reader, 1) == b"!"
            os.close(reader)
            time.sleep(hundredths / 100)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        assert b"Traceback" not in err, (hundredths, err.decode())
        codes.add(running.returncode)
    assert codes <= {0, 130}
    assert 130 in codes
    assert os.environ.get(SESSION_VARIABLE) is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [1e38, 3e38])
def test_senseless_samples_are_the_file_s_fault(
    shell: Callable[..., Ran], tmp_path: Path, song: NDArray[np.float32], engine: str, value: float
) -> None:
    """One sentence, at once, that names the place; not the weights, after three attempts."""
    loud = song.copy()
    loud[44_100, 1] = value
    soundfile.write(tmp_path / "loud.wav", loud, 44_100, subtype="FLOAT")
    ran = shell(f"$S separate loud.wav -o out --engine {engine}")
    assert ran.code == 3
    assert f"has a sample of {value:.0e}, full scale being 1, at 1.000 s" in ran.err
    assert "again:" not in ran.err


@pytest.mark.parametrize(
    ("scheme", "extra", "lacks"),
    [
        ("s3", "s3", "fsspec"),
        ("sftp", "sftp", "fsspec"),
        ("https", "http", "fsspec"),
        ("s3", "s3", "s3fs"),
        ("sftp", "sftp", "sshfs"),
        ("https", "http", "aiohttp"),
    ],
)
def test_addresses_without_their_extra(
    shell: Callable[..., Ran], tmp_path: Path, scheme: str, extra: str, lacks: str
) -> None:
    """Are refused at once, with the extra that they need."""
    (tmp_path / "site").mkdir()
    fault = f"raise ModuleNotFoundError(\"No module named '{lacks}'\", name={lacks!r})\n"
    (tmp_path / "site" / f"{lacks}.py").write_text(fault)
    began = time.monotonic()
    ran = shell(f"$S separate {scheme}://host/a.wav -o out", PYTHONPATH=str(tmp_path / "site"))
    assert time.monotonic() - began < 10
    assert ran.code in {2, 3}
    assert "cannot be used" in ran.err
    assert f"pip install '.[{extra}]'" in ran.err
