"""Runs in the supervisor. All that this program has started: one mark, one folder, one warden.

Every process that is started for a pool bears the household's mark in its environment, and so does
whatever it starts in turn. That is how a process is found again that has left its parent: by the
supervisor after each child's end, and by the warden after the supervisor's. The folder, whose path
is the mark, also takes what a process says that cannot reach the supervisor in any other way.

There is one household in a program, however many pools it has: multiprocessing has one fork server.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from stemsplit.core.child_entry import SESSION_VARIABLE
from stemsplit.core.compat import multiprocessing_imports_safely, safe_path
from stemsplit.core.errors import EngineError, StemsplitError, UsageError
from stemsplit.core.text import sentence_of
from stemsplit.storage.temporary import TemporaryFolder
from stemsplit.supervisor import watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_CHILD_ENVIRONMENT = {
    # These libraries start their threads while they are imported, and a process that has threads
    # must not be forked. The engine is told its number of threads when it is loaded.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

_COMPLAINT_FILE = "complaint"

NO_MORE = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What the system answers when no more processes, open files or memory are to be had."""

NO_MAIN_GUARD = (
    "A child process ran the program that uses stemsplit from its start, and so came to use "
    "stemsplit itself."
)
MAIN_GUARD = (
    'Put the part of the program that uses stemsplit under `if __name__ == "__main__":`, because '
    "every child process imports the program's main module."
)


class CannotStartError(EngineError):
    """The system starts no further process.

    Attributes:
        helps_to_wait: whether it might when others have ended.
    """

    helps_to_wait = False

    @classmethod
    def because_of(cls, error: Exception) -> Self:
        """Say what is the matter, and how to change it."""
        number = getattr(error, "errno", None) or 0
        if isinstance(error, RuntimeError):  # how Python says that it can start no thread
            number = errno.EAGAIN
        remedy = {
            errno.EMFILE: "Allow more open files: `ulimit -n 1024`.",
            errno.EAGAIN: "End other programs, or allow more processes: `ulimit -u 4096`.",
        }.get(number, "End other programs; reinstall stemsplit if that does not help.")
        said = sentence_of(error) if isinstance(error, OSError) else f"{error}"
        new = cls(f"No child process can be started ({said}).", remedy)
        new.helps_to_wait = number in NO_MORE
        return new


class Session:
    """What pools share; counts them, and is there from the first to the last.

    Attributes:
        lock: held by whoever changes what all pools share.
        fork_server_pid: of a fork server that was started here, None if there is none.
        restored: how often the folder was gone and was made again.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self.lock = threading.RLock()
        self._members = 0
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._temporary: TemporaryFolder | None = None
        self.fork_server_pid: int | None = None
        self.restored = 0
        self._replaced: dict[str, str | None] = {}

    def enter(self) -> None:
        """Count one pool more; the first one makes the folder and starts the warden.

        Raises:
            StemsplitError: if the folder cannot be made or the warden not be started; nothing is
                counted then.
        """
        refuse_inside_a_child()
        with self.lock:
            if self._members == 0:
                # Started before anything bears the mark, because it belongs to the whole program.
                if sys.platform != "win32":
                    try:
                        with multiprocessing_imports_safely():
                            resource_tracker.ensure_running()
                    except OSError as error:
                        raise CannotStartError.because_of(error) from error
                self._temporary = TemporaryFolder("stemsplit-household-", _before_removal)
                try:
                    self._start_watchdog()
                except BaseException:
                    self._remove_folder()
                    raise
            self._members += 1

    def _start_watchdog(self) -> None:
        try:
            self._watchdog = subprocess.Popen(  # noqa: S603 - our own program
                [
                    *(sys.executable, *safe_path(), watchdog.__file__),
                    *(SESSION_VARIABLE, str(self.folder)),
                ],
                stdin=subprocess.PIPE,
                # Ctrl-C in a terminal is not for it.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise CannotStartError.because_of(error) from error

    def tend(self) -> None:
        """Replace the warden and the folder if they are gone, as after a cleaner of old files.

        Raises:
            StemsplitError: if they cannot be made anew.
        """
        with self.lock:
            if self._temporary is None:
                return
            if self._watchdog is not None and self._watchdog.poll() is not None:
                if self._watchdog.stdin is not None:
                    self._watchdog.stdin.close()
                self._start_watchdog()
            self.restored += self._temporary.restore()

    def forget(self) -> None:
        """Start anew in a copy of the program: what runs and lies there is its parent's."""
        _restore_environment(self._replaced)
        self.__init__()  # type: ignore[misc]

    @property
    def is_last(self) -> bool:
        """Whether there is one pool alone."""
        return self._members == 1

    def leave(self) -> None:
        """Count one pool less; with the last one go the warden, the folder and all that is left."""
        with self.lock:
            self._members -= 1
            if self._members:
                return
            # Nothing may outlive the warden, which watches over it.
            self._kill(self._marked())
            if self._watchdog is not None and self._watchdog.stdin is not None:
                with contextlib.suppress(OSError):
                    self._watchdog.stdin.write(b"\n")
                    self._watchdog.stdin.flush()
                with contextlib.suppress(OSError):
                    self._watchdog.stdin.close()
                self._watchdog.wait()
                self._watchdog = None
            self._remove_folder()

    @property
    def folder(self) -> Path | None:
        """The mark; None while there is no pool."""
        return None if self._temporary is None else self._temporary.path

    def _remove_folder(self) -> None:
        if self._temporary is not None:
            self._temporary.remove()
            self._temporary = None

    def staff(self) -> frozenset[int]:
        """Give the numbers of the processes that serve all pools."""
        pids = {self.fork_server_pid, self._watchdog.pid if self._watchdog else None}
        return frozenset(pid for pid in pids if pid is not None)

    @contextlib.contextmanager
    def environment(self, **more: str) -> Iterator[None]:
        """Set what new processes inherit, and leave the caller's own environment as it was."""
        new = _CHILD_ENVIRONMENT | more
        if self.folder is not None:
            new[SESSION_VARIABLE] = str(self.folder)
        with self.lock:
            self._replaced = {name: os.environ.get(name) for name in new}
            os.environ.update(new)
            try:
                yield
            finally:
                _restore_environment(self._replaced)
                self._replaced = {}

    def complaint(self) -> str:
        """Give what a process wrote that could not tell it in any other way; empty if nothing."""
        if self.folder is None:
            return ""
        try:
            return (self.folder / _COMPLAINT_FILE).read_text()
        except OSError:
            return ""

    def sweep(self) -> None:
        """Kill what bears the mark and has left this process's tree."""
        with contextlib.suppress(StemsplitError):  # whoever starts the next child is told
            self.tend()
        strays = self._marked()
        if not strays:
            return
        with contextlib.suppress(psutil.Error):
            # Looked at afterwards: what is started meanwhile is in this list and not in the other.
            ours = {one.pid for one in psutil.Process().children(recursive=True)}
            self._kill([one for one in strays if one.pid not in ours])

    def _marked(self) -> list[psutil.Process]:
        return [] if self.folder is None else watchdog.marked(SESSION_VARIABLE, str(self.folder))

    @staticmethod
    def _kill(processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.Error, OSError):
                process.kill()


def _restore_environment(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _before_removal(folder: Path) -> None:
    """Do what the warden of a household that was killed would do."""
    watchdog.remove_unfinished(str(folder))
    watchdog.remove_sockets(str(folder))


SESSION = Session()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SESSION.forget)


def refuse_inside_a_child() -> None:
    """Raise if this process is itself a child of some household, and leave word there.

    A child imports the program's main module. Where the program lacks the guard of its main module,
    that import would start children in turn, without an end.

    Raises:
        UsageError: with what to change in the program.
    """
    folder = os.environ.get(SESSION_VARIABLE)
    if folder is None or folder == str(SESSION.folder):
        return
    with contextlib.suppress(OSError):
        (Path(folder) / _COMPLAINT_FILE).write_text(NO_MAIN_GUARD)
    raise UsageError(NO_MAIN_GUARD, MAIN_GUARD)
