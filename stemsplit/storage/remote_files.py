"""Runs in both. Reads and writes remote files through fsspec, with retries.

Implements `stemsplit.storage.backends.Backend`. Remote storage renames no folders, and often no
files: each file appears at its destination whole, one after the other.

fsspec and what it needs for a scheme are optional dependencies. botocore and fsspec read options
such as an endpoint from the environment (docs/cluster.md).
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stemsplit.core.errors import (
    FREE_TEMPORARY_SPACE,
    DiskFullError,
    StemsplitError,
    UnreachableError,
    is_disk_full,
)
from stemsplit.core.text import quoted
from stemsplit.storage.urls import (
    S3_SCHEMES,
    SSH_SCHEMES,
    file_system_class,
    split_url,
    unusable_scheme,
    url_of,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

# Without this sshfs accepts any host key; with it asyncssh checks ~/.ssh/known_hosts.
_SSH_OPTIONS: dict[str, Any] = {"known_hosts": ()}
# A network that drops all packets must be noticed before a child counts as stalled.
_S3_OPTIONS: dict[str, Any] = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30}}
_OPTIONS = {**dict.fromkeys(SSH_SCHEMES, _SSH_OPTIONS), **dict.fromkeys(S3_SCHEMES, _S3_OPTIONS)}

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between attempts at one file, in addition to the retries of the library below."""

_FORBIDDEN = frozenset({"HostKeyNotVerifiable", "NoCredentialsError", "PermissionDenied"})
"""Exceptions of asyncssh and botocore that another attempt would raise again."""

_Result = TypeVar("_Result")
Tick = Callable[[], None]

MOVES_FOLDERS = False


@dataclass(frozen=True, slots=True)
class FileStatus:
    """Metadata of a remote file.

    Attributes:
        size_bytes: size.
        modified_ns: time of the last change, in nanoseconds since 1970; 0 if unknown.
    """

    size_bytes: int
    modified_ns: int

    @property
    def fingerprint(self) -> tuple[int, int]:
        """The size, and 0 for the time: a remote copy has a time of its own."""
        return self.size_bytes, 0


def status(path: Path | bytes) -> FileStatus | None:
    """Return the status of a remote file, or None if it does not exist.

    Raises:
        UnreachableError: if the storage cannot be reached.
    """
    return _retry(lambda: _status_at(*_open(path)), "checked", path)


def exists(path: Path) -> bool:
    """Return whether a remote file exists, or anything below that path.

    Raises:
        UnreachableError: if the storage cannot be reached.
    """

    def is_folder() -> bool:
        system, name = _open(path)
        return bool(system.isdir(name))

    return status(path) is not None or _retry(is_folder, "checked", path)


def fingerprint(path: bytes) -> tuple[int, int] | None:
    """Return the size of a remote file and 0, or None if it does not exist.

    Raises:
        OSError: if the storage cannot be reached.
    """
    try:
        found = status(path)
    except UnreachableError as error:
        raise OSError(errno.EIO, error.message) from error
    return None if found is None else found.fingerprint


def listing(path: Path) -> dict[Path, FileStatus]:
    """Return the files below a path, including hidden ones, sorted by name.

    Raises:
        UnreachableError: if the storage cannot be reached.
    """

    def ask() -> dict[Path, FileStatus]:
        system, top = _open(path)
        try:
            found: Mapping[str, Any] = system.find(top, detail=True)
        except FileNotFoundError:
            return {}
        below = {posixpath.relpath(name, top): info for name, info in sorted(found.items())}
        return {path / name: _status_of(info) for name, info in below.items() if name != "."}

    return _retry(ask, "listed", path)


def fetch(path: Path, target: Path, tick: Tick) -> None:
    """Download a remote file; `tick` is called repeatedly meanwhile, and may raise.

    Raises:
        FileNotFoundError, UnreachableError: if the download fails.
    """

    def download() -> None:
        system, name = _open(path)
        size = _status_of(system.info(name)).size_bytes
        system.get_file(name, os.fspath(target), callback=_callback(tick))
        received = target.stat().st_size
        if size and received != size:
            raise OSError(f"received {received:,} of {size:,} bytes")

    _retry(download, "fetched", path, tick)


def send(source: Path, path: Path, tick: Tick) -> None:
    """Upload a local file to `path`, and create missing folders; `tick` as for `fetch`.

    Raises:
        UnreachableError: if the upload fails.
    """

    def upload() -> None:
        system, name = _open(path)
        _make_parent(system, name)
        system.put_file(os.fspath(source), name, callback=_callback(tick))
        system.invalidate_cache()
        size, stored = source.stat().st_size, _status_of(system.info(name)).size_bytes
        if stored != size:
            raise OSError(f"stored {stored:,} of {size:,} bytes")

    _retry(upload, "written", path, tick)


def check_writable(staging: Path) -> None:
    """Write a small file to a remote staging folder, and remove both.

    Raises:
        UnreachableError: if that fails.
    """
    with tempfile.NamedTemporaryFile() as probe:
        send(Path(probe.name), staging / "probe", lambda: None)
    remove_folder(staging)


def prepare(targets: Iterable[Path]) -> None:
    """Do nothing: `move` creates folders, and permissions show only when it writes."""


def move(source: Path, target: Path) -> None:
    """Rename a remote file, replacing `target`.

    Storage without renaming copies the file within itself; `target` appears at once, whole. Does
    nothing if the source is missing and the target exists: an earlier call has moved it.

    Raises:
        FileNotFoundError, UnreachableError: if that fails.
    """

    def rename() -> None:
        system, old = _open(source)
        _, new = _open(target)
        before = _status_at(system, old)
        if before is None:
            if _status_at(system, new) is not None:
                return
            raise FileNotFoundError(url_of(source))
        _make_parent(system, new)
        # fsspec's own `mv` treats brackets in names as a pattern, so only sshfs's is called.
        renames = _has_scheme(system, SSH_SCHEMES)
        if renames:
            system.mv(old, new)
        else:
            system.cp_file(old, new)
        system.invalidate_cache()
        after = _status_at(system, new)
        if after is None or after.size_bytes != before.size_bytes:
            raise OSError("the copy is incomplete")
        if not renames:
            system.rm_file(old)

    _retry(rename, "written", target)


def move_folder(source: Path, target: Path) -> bool:
    """Return False: remote storage renames no folders.

    `publish` does not call it, because every remote stem is moved on its own.
    """
    del source, target
    return False


def fsync_folder(folder: Path) -> None:
    """Do nothing: the storage is durable."""


def remove_folder(folder: Path) -> None:
    """Remove a remote folder with its files; never raises."""
    with contextlib.suppress(Exception):
        system, name = _open(folder)
        for file in system.find(name):
            system.rm_file(file)
        if _has_folders(system):
            system.rmdir(name)


def _open(path: Path | bytes | str) -> tuple[Any, str]:
    """Return the file system of a URL, and the URL's name in it.

    fsspec is not given the whole URL: it would interpret parts of `What?.mp3` or `12::34.wav`.
    """
    scheme, host, rest = split_url(path)
    file_system_class(scheme)
    import fsspec

    system, _ = fsspec.core.url_to_fs(f"{scheme}://{host}", **_OPTIONS.get(scheme, {}))
    system.invalidate_cache()  # other processes may have written since
    if scheme in SSH_SCHEMES:  # the host is not part of a name
        return system, rest or "/"
    return system, str(system._strip_protocol(f"{scheme}://{host}")) + rest  # noqa: SLF001


def _retry(
    action: Callable[[], _Result], done: str, path: Path | bytes, tick: Tick = lambda: None
) -> _Result:
    """Call `action` until it succeeds or retrying is pointless.

    Raises:
        FileNotFoundError: at once.
        DiskFullError: at once, if the local disk is full.
        UnreachableError: if access is denied or all attempts fail.
    """
    for pause in (*_PAUSES_SECONDS, None):
        try:
            return action()
        except (FileNotFoundError, StemsplitError):
            raise
        except ImportError as error:  # a dependency of fsspec for this scheme
            raise unusable_scheme(split_url(path)[0], error) from error
        except Exception as error:  # the libraries below raise all kinds
            if is_disk_full(error):
                raise DiskFullError(
                    f"The disk for temporary files is full ({error}).",
                    FREE_TEMPORARY_SPACE,
                ) from error
            if pause is None or isinstance(error, PermissionError) or _is_forbidden(error):
                raise UnreachableError(
                    f"{quoted(path)} cannot be {done} ({type(error).__name__}: {error}).",
                    "Check the network, permissions and storage, and run the same command again.",
                ) from error
            until = time.monotonic() + pause
            while time.monotonic() < until:
                tick()
                time.sleep(0.1)
    raise AssertionError("unreachable")


def _is_forbidden(error: Exception) -> bool:
    return bool(_FORBIDDEN & {base.__name__ for base in type(error).__mro__})


def _status_at(system: Any, name: str) -> FileStatus | None:  # noqa: ANN401 - fsspec has no types
    try:
        info = system.info(name)
    except FileNotFoundError:
        return None
    return None if info.get("type") == "directory" else _status_of(info)


def _status_of(info: Mapping[str, Any]) -> FileStatus:
    modified: Any = next(
        (info[key] for key in ("LastModified", "mtime", "last_modified") if info.get(key)), 0
    )
    if hasattr(modified, "timestamp"):
        moment: dt.datetime = modified
        modified = moment.timestamp()
    seconds = float(modified) if isinstance(modified, int | float) else 0.0
    return FileStatus(size_bytes=int(info.get("size") or 0), modified_ns=round(seconds * 1e9))


def _has_folders(system: Any) -> bool:  # noqa: ANN401 - likewise
    return not _has_scheme(system, S3_SCHEMES)


def _has_scheme(system: Any, schemes: frozenset[str]) -> bool:  # noqa: ANN401 - likewise
    known = system.protocol  # a string or several
    return not schemes.isdisjoint({known} if isinstance(known, str) else known)


def _make_parent(system: Any, name: str) -> None:  # noqa: ANN401 - likewise
    if _has_folders(system):
        system.makedirs(posixpath.dirname(name), exist_ok=True)


def _callback(tick: Tick) -> Any:  # noqa: ANN401 - likewise
    from fsspec.callbacks import Callback

    class TickCallback(Callback):  # type: ignore[misc]
        def call(self, *_arguments: object, **_named: object) -> None:
            tick()

    return TickCallback()
