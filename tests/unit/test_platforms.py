"""What differs between systems, with the behaviour of another system in place of this one's."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import psutil
import pytest

from stemsplit.child import process as child_process
from stemsplit.cli import signals, standard_streams
from stemsplit.core.errors import UnwritableError
from stemsplit.core.messages import Progress, send
from stemsplit.executors.start_gates import on_battery
from stemsplit.journal import output_layout
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.library import input_lists
from stemsplit.storage import local_files, safe_paths, temporary_folders, urls
from stemsplit.storage.publish import publish, take_back
from stemsplit.supervisor import (
    host_resources,
    launcher,
    process_start,
    process_tree,
    termination,
    watchdog,
)
from stemsplit.supervisor.inbox import Inbox

if TYPE_CHECKING:
    from types import ModuleType


class OtherSystem:
    """A module as another system has it: some names are missing, some have other values."""

    def __init__(self, module: ModuleType, *missing: str, **replaced: object) -> None:
        """Keep everything else of `module`."""
        self._module, self._missing = module, missing
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a module
        if name in self._missing:
            raise AttributeError(name)
        return getattr(self._module, name)


def _denied(*_: object, **__: object) -> NoReturn:
    raise PermissionError(13, "Permission denied")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> OtherSystem:
    """The module `os` of Windows, in place of that of the modules that depend on it."""
    system = OtherSystem(os, "fork", "nice", "sched_getaffinity", "pidfd_open", name="nt")
    for module in (local_files, output_layout, input_lists, safe_paths, urls, child_process):
        monkeypatch.setattr(module, "os", system)
    return system


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rss": 9, "uss": 5, "pss": 7}, (7, 5)),  # Linux
        ({"rss": 9, "uss": 5}, (5, 5)),  # macOS and Windows have no PSS
    ],
)
def test_memory_of_a_process(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], expected: tuple[int, int]
) -> None:
    """PSS and USS; where there is no PSS, USS counts twice."""
    me = psutil.Process()
    monkeypatch.setattr(me, "memory_full_info", lambda: SimpleNamespace(**fields))
    assert process_tree._memory(me) == expected


def test_memory_of_a_process_that_may_not_be_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS this needs privileges: its resident memory, which is larger, counts."""
    me = psutil.Process()

    def denied() -> NoReturn:
        raise psutil.AccessDenied

    monkeypatch.setattr(me, "memory_full_info", denied)
    used, same = process_tree._memory(me)
    assert used == same > 2**20


def test_transferred_bytes_of_a_process() -> None:
    """Windows does not count characters, macOS counts nothing."""
    of_windows = SimpleNamespace(read_bytes=3, write_bytes=4, other_bytes=100)
    of_linux = SimpleNamespace(read_bytes=3, write_bytes=4, read_chars=30, write_chars=40)
    for counters, expected in ((of_windows, 7), (of_linux, 70)):
        one: Any = SimpleNamespace(io_counters=lambda counters=counters: counters)
        assert process_tree._io_bytes(one) == expected
    of_macos: Any = SimpleNamespace()
    assert process_tree._io_bytes(of_macos) == 0


def test_a_machine_without_affinity_uses_all_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on macOS and Windows, which have no control groups either."""
    monkeypatch.setattr(host_resources, "os", OtherSystem(os, "sched_getaffinity"))
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert host_resources.processors(tmp_path) == 12


def test_a_machine_without_a_battery_sensor_is_not_on_battery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Psutil has no such function on some systems."""
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    assert on_battery() is False


def test_peak_memory_of_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux has it in /proc, macOS counts bytes, other systems KiB, and Windows nothing."""
    monkeypatch.setattr(Path, "read_text", _denied)
    usage = SimpleNamespace(getrusage=lambda _who: SimpleNamespace(ru_maxrss=4096), RUSAGE_SELF=0)
    monkeypatch.setitem(sys.modules, "resource", usage)
    for platform, expected in (("darwin", 4096), ("freebsd", 4096 * 1024), ("win32", None)):
        monkeypatch.setattr(sys, "platform", platform)
        assert child_process.peak_rss_bytes() == expected


def test_a_child_on_windows_has_a_lower_priority_class(
    windows: OtherSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has no nice values; a value of 0 changes nothing."""
    del windows
    given: list[object] = []
    monkeypatch.setattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", "below normal", raising=False)
    monkeypatch.setattr(psutil.Process, "nice", lambda _self, value: given.append(value))
    child_process._set_niceness(0)
    child_process._set_niceness(10)
    assert given == ["below normal"]


def test_a_system_without_user_signals_writes_no_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled child on Windows is terminated without the stacks in its log."""
    monkeypatch.setattr(termination, "_STACK_SIGNAL", None)
    monkeypatch.setattr(os, "kill", _denied)
    child: Any = SimpleNamespace(pid=os.getpid())
    termination.SystemProcessHandle(child).dump_stacks()


def test_signals_that_a_system_lacks_are_not_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither SIGHUP nor masks; Ctrl-C still interrupts."""
    monkeypatch.setattr(signals, "signal", OtherSystem(signal, "SIGHUP"))
    monkeypatch.setattr(sys, "platform", "win32")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signals.raise_on_signals()
        assert signal.getsignal(signal.SIGHUP) == before[signal.SIGHUP]
        assert signal.getsignal(signal.SIGTERM) is signals._raise_stopped
        with process_start.interrupts_blocked(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_children_are_spawned_except_on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server is not safe with the system libraries of macOS, and Windows cannot fork."""
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert launcher.usable_start_method() == "spawn"
        assert launcher.usable_start_method("forkserver") == "spawn"


def test_messages_arrive_through_a_pipe_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a pipe has no descriptor that could be read without waiting."""
    monkeypatch.setattr(sys, "platform", "win32")
    receiving, sending = multiprocessing.Pipe(duplex=False)
    received = Inbox(receiving)
    assert received.receive() == []
    for seconds in (1.0, 2.0):
        send(sending, Progress(audio_seconds=seconds))
    assert received.receive() == [Progress(audio_seconds=1.0), Progress(audio_seconds=2.0)]
    sending.close()
    assert received.receive() == []
    assert not received.is_open
    receiving.close()


def test_temporary_folders_on_windows_have_no_locks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An open file could not be removed there; folders of other processes are never removed."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "stemsplit-test-other").mkdir()
    folder = temporary_folders.TemporaryFolder("stemsplit-test-")
    assert list(folder.path.iterdir()) == []
    assert temporary_folders.is_locked(folder.path)
    folder.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["stemsplit-test-other"]
    assert folder.restore()
    folder.remove()


def test_folders_are_not_flushed_on_windows(
    windows: OtherSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder cannot be opened there; where that fails otherwise, nothing is raised either."""
    opened: list[object] = []
    windows.open = lambda path, _flags: opened.append(path)  # type: ignore[attr-defined]
    local_files.fsync_folder(tmp_path)
    assert opened == []
    monkeypatch.setattr(local_files, "os", OtherSystem(os, open=_denied))
    local_files.fsync_folder(tmp_path)


def test_a_stem_that_is_open_elsewhere_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace an open file: the track fails, and the moves are reverted."""
    folder, staging = tmp_path / "out", tmp_path / "staging"
    for place, text in ((folder, "old"), (staging, "new")):
        place.mkdir()
        for name in ("drums.wav", "vocals.wav"):
            (place / name).write_text(text)
    (folder / "drums.wav").unlink()
    moves = {name: folder / name for name in ("drums.wav", "vocals.wav")}
    replace = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if target == folder / "vocals.wav":  # a player has opened it
            raise PermissionError(13, "The process cannot access the file", str(target), 32)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(UnwritableError, match="The process cannot access the file"):
        publish(staging, moves)
    assert take_back(staging, moves, {"vocals.wav"})
    assert sorted(path.name for path in staging.iterdir()) == ["drums.wav", "vocals.wav"]
    assert (folder / "vocals.wav").read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="needs modes")
def test_permissions_are_not_shared_on_windows(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Its modes say nothing about other users."""
    tmp_path.chmod(0o777)
    file = tmp_path / "journal"
    for is_windows, expected in ((False, 0o666), (True, 0o644)):
        if is_windows:
            request.getfixturevalue("windows")
        file.touch()
        file.chmod(0o644)
        OutputLayout(tmp_path).share_access(file)
        assert file.stat().st_mode & 0o777 == expected


@pytest.mark.parametrize(
    ("path", "is_inside"),
    [
        (rb"album\song.wav", True),
        (rb"album\..\..\song.wav", False),
        (rb"..\song.wav", False),
        (b"album/../song.wav", False),
    ],
)
def test_backslashes_separate_the_parts_of_paths_on_windows(
    windows: OtherSystem, path: bytes, *, is_inside: bool
) -> None:
    """So a path in a journal cannot leave its folder with them."""
    del windows
    assert safe_paths.is_inside(path) is is_inside
    assert not safe_paths.is_name(path)


def test_urls_and_drives_on_windows(windows: OtherSystem) -> None:
    """A path that stands for a URL has backslashes; a `file://` URL has a drive."""
    del windows
    assert urls.is_remote(r"\s3:\bucket\songs\one.wav")
    assert not urls.is_remote(r"C:\Music\one.wav")
    assert input_lists._path(b"file:///C:/Music/a%20b.wav") == Path("C:/Music/a b.wav")


def test_a_console_of_windows_keeps_its_stream(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It accepts text, not bytes; what its encoding lacks is escaped."""
    path = tmp_path / "console"
    monkeypatch.setattr(standard_streams, "os", OtherSystem(os, name="nt"))
    with path.open("w", encoding="cp437") as console:
        monkeypatch.setattr(console, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, "stdout", console)
        monkeypatch.setattr(sys, "__stdout__", console)
        standard_streams.prepare()
        assert sys.stdout is console
        console.write("Ω 夜.wav\n")
    assert path.read_text(encoding="cp437") == "Ω \\u591c.wav\n"


def test_logging_is_not_lost_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """`/proc` exists on Linux alone: a child is set up without it."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    interrupts = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Path, "write_text", _denied)
    monkeypatch.setattr(child_process, "STACK_SIGNAL", None)
    try:
        child_process.set_up_process(sending)
        logging.getLogger("test").warning("from the child")
        assert receiving.poll(1)
    finally:
        signal.signal(signal.SIGINT, interrupts)
        logging.captureWarnings(capture=False)
        for handler in list(root.handlers):
            root.removeHandler(handler)
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)
        sending.close()
        receiving.close()


@pytest.mark.parametrize(("written", "has_cleaned_up"), [(b"\n", True), (b"", False)])
def test_a_watchdog_on_windows_reads_its_pipe(
    monkeypatch: pytest.MonkeyPatch, written: bytes, *, has_cleaned_up: bool
) -> None:
    """It cannot wait for a process or select a pipe; the end of the pipe says that all is lost."""
    monkeypatch.setattr(sys, "platform", "win32")
    system = OtherSystem(os, "pidfd_open", read=lambda _descriptor, _count: written)
    monkeypatch.setattr(watchdog, "os", system)
    monkeypatch.setattr("select.select", _denied)
    assert watchdog._wait_for_supervisor() is has_cleaned_up
