"""The installed command on systems with few resources or unusual restrictions."""

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
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
import soundfile
from installed_command import COMMAND, CommandResult, start_batch

from stemsplit.core.child_entry import SESSION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.real,
    pytest.mark.usefixtures("real_models"),
    pytest.mark.skipif(os.name == "nt", reason="needs Unix"),
]


STEMS = {"vocals.wav", "accompaniment.wav"}
ENGINES = [
    "onnx",
    pytest.param(
        "tensorflow",
        marks=pytest.mark.skipif(
            sys.version_info >= (3, 12), reason="no TensorFlow for Python 3.12"
        ),
    ),
]
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"
)


@pytest.fixture
def shell(tmp_path: Path, real_models: Path, song_file: Path) -> Callable[..., CommandResult]:
    """Run a shell script in a folder with `song.wav`; `$S` is the command."""
    shutil.copy(song_file, tmp_path / "song.wav")

    def run(script: str, **environment: str) -> CommandResult:
        completed = subprocess.run(
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
        for unwanted in ("Unexpected error", "Traceback"):
            assert unwanted not in completed.stdout + completed.stderr, completed.stderr
        return CommandResult(completed.returncode, completed.stdout, completed.stderr)

    return run


def stems(folder: Path) -> set[str]:
    """Return the names of the song's stems."""
    track = folder / "out" / "song"
    return {path.name for path in track.iterdir()} if track.exists() else set()


def summary(folder: Path) -> dict[str, object]:
    """Return the summary of the last run."""
    content: dict[str, object] = json.loads((folder / "out/.stemsplit/summary.json").read_bytes())
    return content


@pytest.mark.parametrize("options", ["", "--json", "--verbose"])
@pytest.mark.parametrize("redirection", ["> /dev/full", "| true"])
def test_an_unwritable_standard_output_does_not_stop_a_batch(
    shell: Callable[..., CommandResult], tmp_path: Path, options: str, redirection: str
) -> None:
    """Standard error and the summary mention it, and the exit code stays the same."""
    command = f"$S separate song.wav none.wav -o out {options} {redirection}"
    result = shell(f"{command}; exit ${{PIPESTATUS[0]}}")
    assert result.code == 3
    assert stems(tmp_path) == STEMS
    assert result.err.count("standard output cannot be written") == 1
    assert "standard output cannot be written" in str(summary(tmp_path)["unshown"])


def test_a_closed_terminal_does_not_stop_a_batch(songs: Path) -> None:
    """As after `disown`: the batch gets no SIGHUP, and its writes fail."""
    controller, terminal = os.openpty()
    output = songs.parent / "out"
    process = subprocess.Popen(
        ["bash", "-c", 'trap \'\' HUP; exec "$0" separate "$1" -o "$2"', COMMAND, songs, output],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    assert os.read(controller, 1)
    os.close(controller)
    assert process.wait(120) == 0
    assert len([*output.glob("*/vocals.wav")]) == 3
    assert "cannot be written" in str(summary(songs.parent)["unshown"])


def test_a_batch_runs_without_standard_streams(
    shell: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """Files of the batch do not get the descriptors of the closed streams."""
    assert shell("$S separate song.wav -o out <&- >&- 2>&-").code == 0
    assert stems(tmp_path) == STEMS


def test_other_commands_report_an_unwritable_standard_output(
    shell: Callable[..., CommandResult],
) -> None:
    """The exit code is 1; a closed pipe is not an error."""
    result = shell("$S models list > /dev/full")
    assert result.code == 1
    assert result.err == (
        "stemsplit: Standard output cannot be written (No space left on device).\n"
    )
    assert shell("$S models list | true").err == ""


_EXITS_AT_START = """\
import os, sys
if {name!r} in " ".join(sys.orig_argv):
    os._exit(1)
"""


@pytest.mark.parametrize("name", ["forkserver", "resource_tracker"])
def test_helper_processes_that_exit_at_once_do_not_stop_a_batch(
    shell: Callable[..., CommandResult], tmp_path: Path, name: str
) -> None:
    """After three fork servers, children are spawned; the resource tracker is replaced."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_EXITS_AT_START.format(name=name))
    result = shell("$S separate song.wav -o out", PYTHONPATH=str(tmp_path / "site"))
    assert result.code == 0, result.err
    assert stems(tmp_path) == STEMS
    assert "resource_tracker" not in result.err


@pytest.mark.parametrize("engine", ENGINES)
def test_temporary_files_may_have_a_long_path(
    shell: Callable[..., CommandResult], tmp_path: Path, engine: str
) -> None:
    """The paths of sockets are limited to 108 bytes."""
    folder = tmp_path / ("x" * 150)
    folder.mkdir()
    result = shell(f"$S separate song.wav -o out --engine {engine}", TMPDIR=str(folder))
    assert result.code == 0, result.err
    assert stems(tmp_path) == STEMS
    assert list(folder.iterdir()) == []


@pytest.fixture
def songs(song: NDArray[np.float32], tmp_path: Path) -> Path:
    """A folder with three songs of 24 seconds."""
    folder = tmp_path / "songs"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", np.tile(song, (6, 1)), 44_100)
    return folder


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def separate_songs(
    songs: Path, *options: str, **environment: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """Start a batch of a folder of songs, one at a time."""
    return start_batch(songs.parent, songs, "--jobs", "1", *options, **environment)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a batch; return its exit code and its output."""
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out + err


@pytest.mark.parametrize("engine", ENGINES)
def test_removed_temporary_files_are_replaced_during_a_batch(
    songs: Path, temporary: Path, engine: str
) -> None:
    """As after a cleanup of old files: folder and fork server are replaced, and all is done."""
    with separate_songs(songs, "--engine", engine, TMPDIR=str(temporary)) as process:
        for path in temporary.iterdir():
            shutil.rmtree(path)
        code, err = finish(process)
    assert code == 0, err
    assert len([*(songs.parent / "out").glob("*/vocals.wav")]) == 3
    assert list(temporary.iterdir()) == []


@needs_root
@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk_for_temporary_files_does_not_stop_a_batch(
    songs: Path, mount: Callable[[str], Path], engine: str
) -> None:
    """The disk fills up during the batch, which loses at most its logs."""
    disk = mount("1m")
    with separate_songs(songs, "--engine", engine, TMPDIR=str(disk)) as process:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4_096))
        code, err = finish(process)
    assert code == 0, err
    assert len([*(songs.parent / "out").glob("*/vocals.wav")]) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_low_limit_of_open_files(
    shell: Callable[..., CommandResult], tmp_path: Path, engine: str
) -> None:
    """If it is too low for one child, the batch fails; if for eight, fewer children run."""
    result = shell(f"ulimit -n 12; $S separate song.wav -o out --engine {engine}")
    assert result.code == 1
    assert "too many open files" in result.err.lower()
    assert "ulimit -n 1024" in result.err
    for number in range(8):
        shutil.copy(tmp_path / "song.wav", tmp_path / f"{number}.wav")
    result = shell(f"ulimit -n 40; $S separate [0-7].wav -o out --jobs 8 --engine {engine}")
    assert result.code == 0, result.err
    assert len([*(tmp_path / "out").glob("*/vocals.wav")]) == 8


AS_UNKNOWN_USER = "setpriv --reuid=54321 --regid=54321 --clear-groups"


@pytest.fixture
def open_folder(tmp_path: Path, real_models: Path) -> Iterator[Path]:
    """A folder with a song and the models that every user may write to."""
    folder = Path(tempfile.mkdtemp(prefix="open", dir="/tmp"))
    shutil.copytree(real_models, folder / "models")
    shutil.copy(tmp_path / "song.wav", folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    yield folder
    shutil.rmtree(folder)


def _only_in(folder: Path) -> str:
    """Return the shell commands that direct every access to `folder`."""
    variables = f"export STEMSPLIT_MODELS={folder}/models TMPDIR={folder} HOME={folder}"
    return f"{variables}; unset XDG_CONFIG_HOME"


@needs_root
@pytest.mark.parametrize("engine", ENGINES)
def test_a_user_without_a_name_a_home_folder_or_many_processes(
    shell: Callable[..., CommandResult], open_folder: Path, engine: str
) -> None:
    """The system does not know the user, who may start few processes."""
    if shell(f"{AS_UNKNOWN_USER} test -x {sys.executable}").code != 0:
        pytest.skip("other users cannot run the command")
    inside = f"cd {open_folder}; {_only_in(open_folder)}"
    separate = f"$S separate song.wav -o out --engine {engine}"
    result = shell(f"{inside}; unset HOME; {AS_UNKNOWN_USER} {separate}")
    assert result.code == 0, result.err
    assert stems(open_folder) == STEMS
    result = shell(f"{inside}; {AS_UNKNOWN_USER} bash -c 'ulimit -u 3; {separate} --overwrite'")
    assert result.code in {0, 1}, result.err
    assert result.code == 0 or "ulimit -u" in result.err, result.err


@needs_root
def test_a_missing_proc_is_reported(shell: Callable[..., CommandResult]) -> None:
    """Without /proc, memory cannot be measured and no cap enforced."""
    if shell("unshare -m true").code != 0:
        pytest.skip("needs mount namespaces")
    result = shell("unshare -m bash -c 'mount -t tmpfs none /proc; $S separate song.wav -o out'")
    assert result.code == 1
    assert "Mount /proc" in result.err


def test_a_deleted_current_folder_is_reported(
    shell: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """Every command refuses to run, and creates nothing."""
    for command in ("separate $OLDPWD/song.wav -o $OLDPWD/out", "status out", "models list"):
        result = shell(f"mkdir deleted; cd deleted; rmdir ../deleted; $S {command}")
        assert result.code == 2
        assert result.err.startswith("stemsplit: The current folder cannot be used")
    assert not (tmp_path / "out").exists()


@needs_root
def test_an_output_folder_that_becomes_immutable(songs: Path) -> None:
    """Its tracks fail, and the next run removes the leftovers and separates them."""
    output = songs.parent / "out"
    output.mkdir()

    def set_flag(flag: str) -> int:
        return subprocess.run(["chattr", flag, output], capture_output=True, check=False).returncode

    if set_flag("+i") != 0 or set_flag("-i") != 0:
        pytest.skip("the file system has no immutable flag")
    with separate_songs(songs) as process:
        set_flag("+i")
        try:
            code, err = finish(process)
        finally:
            set_flag("-i")
    assert code == 1, err
    assert "cannot be written" in err
    completed = subprocess.run([COMMAND, "separate", songs, "-o", output], check=False)
    assert completed.returncode == 0
    assert not list(output.glob(".stemsplit-*"))
    assert len([*output.glob("*/vocals.wav")]) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stem_too_large_for_its_disk_is_reported(
    shell: Callable[..., CommandResult], engine: str
) -> None:
    """As beyond 4 GiB on FAT; the remedy names a format with smaller files."""
    result = shell(f"ulimit -f 400; $S separate song.wav -o out --engine {engine}")
    assert result.code == 3
    assert "too large for this disk" in result.err
    assert "--format flac" in result.err


def helpers(supervisor: int) -> dict[str, psutil.Process]:
    """Return the helper processes of a supervisor, by their role."""
    found = {}
    for child in psutil.Process(supervisor).children():
        try:
            command_line = " ".join(child.cmdline())
        except psutil.Error:  # it has just exited
            continue
        for role in ("forkserver", "resource_tracker", "watchdog.py"):
            if role in command_line:
                found[role] = child
    return found


def test_a_dead_watchdog_is_replaced(songs: Path) -> None:
    """The new one ends all processes when the supervisor dies."""
    with separate_songs(songs) as process:
        first = helpers(process.pid)["watchdog.py"]
        first.kill()
        deadline = time.monotonic() + 20
        while helpers(process.pid).get("watchdog.py") in {None, first}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_temporary_files_are_removed_after_a_kill(songs: Path, temporary: Path) -> None:
    """The watchdog removes them; if it was killed as well, the next run does."""
    with separate_songs(songs, TMPDIR=str(temporary)) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        psutil.wait_procs(family, timeout=20)
    assert list(temporary.iterdir()) == []
    with separate_songs(songs, "--overwrite", TMPDIR=str(temporary)) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        helpers(process.pid)["watchdog.py"].kill()
        process.kill()
        psutil.wait_procs(family, timeout=20)
    left = {path.name.partition("-")[0] for path in temporary.iterdir()}
    assert "stemsplit" in left
    with separate_songs(songs, "--overwrite", TMPDIR=str(temporary)) as process:
        assert finish(process)[0] == 0
    assert [path for path in temporary.iterdir() if path.name.startswith("stemsplit")] == []


@needs_root
def test_another_user_of_the_group_can_continue(
    shell: Callable[..., CommandResult], open_folder: Path
) -> None:
    """In a folder of the group, the second user can write the files of the first."""
    if shell(f"{AS_UNKNOWN_USER} test -x {sys.executable}").code != 0:
        pytest.skip("other users cannot run the command")
    output = open_folder / "out"
    output.mkdir()
    os.chown(output, 60_001, 60_000)
    output.chmod(0o2775)
    inside = f"cd {open_folder}; {_only_in(open_folder)}; umask 002"
    for user in (60_001, 60_002):
        as_user = f"setpriv --reuid={user} --regid=60000 --clear-groups"
        result = shell(f"{inside}; {as_user} $S convert song.wav -o out --format flac --overwrite")
        assert result.code == 0, result.err
        result = shell(f"{inside}; {as_user} $S separate song.wav missing.wav -o out --overwrite")
        assert result.code == 3, result.err
    for path in (output / ".stemsplit").iterdir():
        assert path.stat().st_gid == 60_000
        assert path.stat().st_mode & stat.S_IWGRP, path


def test_state_files_are_private_unless_the_folder_is_shared(
    shell: Callable[..., CommandResult], tmp_path: Path
) -> None:
    """With a umask of 022, other users cannot write them."""
    assert shell("umask 022; $S convert song.wav -o out --format flac").code == 0
    for path in (tmp_path / "out" / ".stemsplit").iterdir():
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


_REPORTS_ITS_INTERRUPT_HANDLER = """\
import os, signal
set_handler = signal.signal

def set_and_report(number, handler):
    before = set_handler(number, handler)
    if number == signal.SIGINT and "REPORT_TO" in os.environ:
        os.write(int(os.environ.pop("REPORT_TO")), b"!")
    return before

signal.signal = set_and_report
"""


@pytest.mark.parametrize("command", [["separate", "song.wav", "-o", "out"], ["models", "list"]])
def test_an_early_interrupt_prints_no_traceback(
    shell: Callable[..., CommandResult], tmp_path: Path, command: list[str]
) -> None:
    """Ctrl-C is pressed at different moments of the first half second after the start."""
    del shell
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_REPORTS_ITS_INTERRUPT_HANDLER)
    codes = set()
    for hundredths in range(0, 48, 3):
        reader, writer = os.pipe()
        with subprocess.Popen(
            [COMMAND, *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "REPORT_TO": str(writer)},
            pass_fds=(writer,),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            os.close(writer)
            assert os.read(reader, 1) == b"!"
            os.close(reader)
            time.sleep(hundredths / 100)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        assert b"Traceback" not in err, (hundredths, err.decode())
        codes.add(process.returncode)
    assert codes <= {0, 130}
    assert 130 in codes
    assert os.environ.get(SESSION_VARIABLE) is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [1e38, 3e38])
def test_samples_far_beyond_full_scale_are_bad_input(
    shell: Callable[..., CommandResult],
    tmp_path: Path,
    song: NDArray[np.float32],
    engine: str,
    value: float,
) -> None:
    """The message names the position, and the track is not retried."""
    loud = song.copy()
    loud[44_100, 1] = value
    soundfile.write(tmp_path / "loud.wav", loud, 44_100, subtype="FLOAT")
    result = shell(f"$S separate loud.wav -o out --engine {engine}")
    assert result.code == 3
    assert f"has a sample of {value:.0e} (full scale is 1) at 1.000 s" in result.err
    assert "retry:" not in result.err


@pytest.mark.parametrize(
    ("scheme", "extra", "missing"),
    [
        ("s3", "s3", "fsspec"),
        ("sftp", "sftp", "fsspec"),
        ("https", "http", "fsspec"),
        ("s3", "s3", "s3fs"),
        ("sftp", "sftp", "sshfs"),
        ("https", "http", "aiohttp"),
    ],
)
def test_addresses_without_their_extra_are_refused(
    shell: Callable[..., CommandResult], tmp_path: Path, scheme: str, extra: str, missing: str
) -> None:
    """The command exits at once, and names the extra to install."""
    (tmp_path / "site").mkdir()
    fault = f"raise ModuleNotFoundError(\"No module named '{missing}'\", name={missing!r})\n"
    (tmp_path / "site" / f"{missing}.py").write_text(fault)
    began = time.monotonic()
    result = shell(f"$S separate {scheme}://host/a.wav -o out", PYTHONPATH=str(tmp_path / "site"))
    assert time.monotonic() - began < 10
    assert result.code in {2, 3}
    assert "cannot be used" in result.err
    assert f"pip install '.[{extra}]'" in result.err
