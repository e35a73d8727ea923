"""Runs in both. Files that lie elsewhere: `s3://bucket/song.mp3`, `sftp://host/music`, by fsspec.

An address is kept as a path that no file of a machine has: `s3://bucket/song.mp3` as
`/s3:/bucket/song.mp3`. So all that is done by names alone, what is put where and what clashes, is
done for both alike, and only where a file is touched it matters which of the two it is.

fsspec and what it needs for a kind of address are extras. Options such as an endpoint come from the
environment, as botocore and fsspec read them there (docs/cluster.md).
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stemsplit.core.errors import (
    DiskFullError,
    StemsplitError,
    UnreachableError,
    UsageError,
    says_disk_is_full,
)
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>[^/].*)", re.IGNORECASE | re.DOTALL
)
_PATH = re.compile(rb"/(?P<scheme>[a-z][a-z0-9+.-]+):/(?P<host>[^/]+)(?P<rest>.*)", re.DOTALL)

_FILE = "file://"
_SSH = frozenset({"sftp", "ssh"})
_S3 = frozenset({"s3", "s3a"})
_HTTP = frozenset({"http", "https"})
_EXTRAS = {
    **dict.fromkeys(_S3, "s3"),
    **dict.fromkeys(_SSH, "sftp"),
    **dict.fromkeys(_HTTP, "http"),
}

_OPTIONS: dict[str, dict[str, Any]] = {
    # Without this sshfs takes any host for the right one; so asyncssh asks ~/.ssh/known_hosts.
    "sftp": {"known_hosts": ()},
    "ssh": {"known_hosts": ()},
    # A network that drops everything is to be noticed before a child counts as stalled.
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30}},
    "s3a": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30}},
}

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between attempts at one file, beside those that a library of its own makes."""

_FORBIDDEN = frozenset({"HostKeyNotVerifiable", "NoCredentialsError", "PermissionDenied"})
"""What asyncssh and botocore raise where another attempt would meet the same."""

_Result = TypeVar("_Result")
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a remote file.

    Attributes:
        size_bytes: of the file.
        modified_ns: when it was last written, in nanoseconds since 1970; 0 if unknown.
    """

    size_bytes: int
    modified_ns: int


def path_of(name: str | os.PathLike[str]) -> Path:
    """Give a path for what a person writes: a path as it is, an address in the form kept here.

    Raises:
        UsageError: if the address has a password in it, which would be shown and written down, or
            cannot be kept in this form.
    """
    text = os.fspath(name)
    if text.lower().startswith(_FILE + "/"):
        return Path(text[len(_FILE) :])
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, rest = found["scheme"].lower(), found["rest"].rstrip("/")
    host = rest.partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise UsageError(
            f"The address at {quoted(host.rpartition('@')[2])} has a password in it.",
            "Leave it out; use an SSH key, or variables such as AWS_SECRET_ACCESS_KEY.",
        )
    if "//" in rest or {".", ".."} & set(rest.split("/")):
        raise UsageError(
            f"The address {quoted(text)} has a part without a name.", "Write its parts out."
        )
    return Path(f"/{scheme}:/{rest}")


def local_path(name: str | os.PathLike[str], what: str) -> Path:
    """Give a path of this machine.

    Raises:
        UsageError: if it is an address, which `what` does not take.
    """
    path = path_of(name)
    if is_remote(path):
        raise UsageError(
            f"{what} takes no addresses, as {quoted(path)} is one.",
            "Copy the files to a folder first; `stemsplit separate` and `convert` do that.",
        )
    return path


def is_remote(path: str | bytes | os.PathLike[str]) -> bool:
    """Tell whether a path stands for an address."""
    return _parts(path) is not None


def _parts(path: str | bytes | os.PathLike[str]) -> re.Match[bytes] | None:
    raw = os.fsencode(path)
    return _PATH.fullmatch(raw.replace(b"\\", b"/") if os.name == "nt" else raw)


def address_of(path: str | bytes | os.PathLike[str]) -> str:
    """Give the address that a path stands for."""
    scheme, host, rest = _split(path)
    return f"{scheme}://{host}{rest}"


def _split(path: str | bytes | os.PathLike[str]) -> tuple[str, str, str]:
    """Give the kind of an address, its host or bucket, and the rest, with a slash before it."""
    found = _parts(path)
    if found is None:
        raise ValueError(f"{path!r} stands for no address")
    return found["scheme"].decode(), os.fsdecode(found["host"]), os.fsdecode(found["rest"])


def module_of(path: str | bytes | os.PathLike[str]) -> str:
    """Give the module that a kind of address needs, for a fork server to import.

    Raises:
        UsageError: if it is not installed, or nobody knows that kind.
    """
    return str(_class_of(_split(path)[0]).__module__)


def _class_of(scheme: str) -> Any:  # noqa: ANN401 - fsspec has no types
    try:
        import fsspec

        return fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise _unusable(scheme, error) from error


def _unusable(scheme: str, error: Exception) -> UsageError:
    extra = _EXTRAS.get(scheme)
    return UsageError(
        f"Addresses that begin with {scheme}:// cannot be used ({error}).",
        f"Run `pip install '.[{extra}]'` in a clone of stemsplit."
        if extra
        else "Install what fsspec needs for them, or copy the files to a folder first.",
    )


def _opened(path: Path | bytes | str) -> tuple[Any, str]:
    """Give the file system of an address, and the name that the address has in it.

    The name is made here: fsspec would take a part of `What?.mp3` or `12::34.wav` for something
    else.
    """
    scheme, host, rest = _split(path)
    _class_of(scheme)
    import fsspec

    system, _ = fsspec.core.url_to_fs(f"{scheme}://{host}", **_OPTIONS.get(scheme, {}))
    system.invalidate_cache()  # what others have written since is not to be missed
    if scheme in _SSH:  # whose host is no part of a name
        return system, rest or "/"
    return system, str(system._strip_protocol(f"{scheme}://{host}")) + rest  # noqa: SLF001


def _nothing() -> None:
    """Do nothing."""


def _patiently(
    action: Callable[[], _Result], what: str, path: Path | bytes, tick: Tick = _nothing
) -> _Result:
    """Do something with a remote file, again where that may help.

    Raises:
        FileNotFoundError: at once.
        DiskFullError: at once, if it is the disk of this machine that is full.
        UnreachableError: if it is forbidden, or all attempts fail.
    """
    for pause in (*_PAUSES_SECONDS, None):
        try:
            return action()
        except (FileNotFoundError, StemsplitError):
            raise
        except ImportError as error:  # what fsspec itself needs for such addresses
            raise _unusable(_split(path)[0], error) from error
        except Exception as error:  # the libraries below raise all kinds
            if says_disk_is_full(error):
                raise DiskFullError(
                    f"The disk for temporary files is full ({error}).",
                    "Make room there, or set TMPDIR to another folder.",
                ) from error
            if pause is None or isinstance(error, PermissionError) or _is_forbidden(error):
                raise UnreachableError(
                    f"{quoted(path)} cannot be {what} ({type(error).__name__}: {error}).",
                    "Check network, rights and storage, and run the same command again.",
                ) from error
            until = time.monotonic() + pause
            while time.monotonic() < until:
                tick()
                time.sleep(0.1)
    raise AssertionError("unreachable")


def _is_forbidden(error: Exception) -> bool:
    return bool(_FORBIDDEN & {kind.__name__ for kind in type(error).__mro__})


def status(path: Path | bytes) -> Status | None:
    """Look at a remote file; None if there is none.

    Raises:
        UnreachableError: if that cannot be told.
    """

    def look() -> Status | None:
        system, name = _opened(path)
        return _status_at(system, name)

    return _patiently(look, "looked at", path)


def _status_at(system: Any, name: str) -> Status | None:  # noqa: ANN401 - fsspec has no types
    try:
        info = system.info(name)
    except FileNotFoundError:
        return None
    return None if info.get("type") == "directory" else _status(info)


def is_folder(path: Path) -> bool:
    """Tell whether there is anything below a path.

    Raises:
        UnreachableError: if that cannot be told.
    """

    def look() -> bool:
        system, name = _opened(path)
        return bool(system.isdir(name))

    return _patiently(look, "looked at", path)


def listing(path: Path) -> dict[Path, Status]:
    """List the files below a path, hidden ones included, by name.

    Raises:
        UnreachableError: if that cannot be done.
    """

    def look() -> dict[Path, Status]:
        system, top = _opened(path)
        try:
            found: Mapping[str, Any] = system.find(top, detail=True)
        except FileNotFoundError:
            return {}
        below = {posixpath.relpath(name, top): info for name, info in sorted(found.items())}
        return {path / name: _status(info) for name, info in below.items() if name != "."}

    return _patiently(look, "listed", path)


def _status(info: Mapping[str, Any]) -> Status:
    modified: Any = next(
        (info[key] for key in ("LastModified", "mtime", "last_modified") if info.get(key)), 0
    )
    if hasattr(modified, "timestamp"):
        moment: dt.datetime = modified
        modified = moment.timestamp()
    seconds = float(modified) if isinstance(modified, int | float) else 0.0
    return Status(size_bytes=int(info.get("size") or 0), modified_ns=round(seconds * 1e9))


def fetch(path: Path, target: Path, tick: Tick) -> None:
    """Copy a remote file to this machine, whole.

    Args:
        path: the remote file.
        target: the new file.
        tick: is called now and then meanwhile, and may raise.

    Raises:
        FileNotFoundError, UnreachableError: if that cannot be done.
    """

    def copy() -> None:
        system, name = _opened(path)
        size = _status(system.info(name)).size_bytes
        system.get_file(name, os.fspath(target), callback=_ticking(tick))
        if size and target.stat().st_size != size:
            raise OSError(f"{target.stat().st_size:,} of {size:,} bytes came")

    _patiently(copy, "fetched", path, tick)


def send(source: Path, path: Path, tick: Tick) -> None:
    """Copy a file of this machine to a remote place, whole.

    Args:
        source: the file.
        path: the place; what is above it is made if need be.
        tick: is called now and then meanwhile, and may raise.

    Raises:
        UnreachableError: if that cannot be done.
    """

    def copy() -> None:
        system, name = _opened(path)
        _make_above(system, name)
        system.put_file(os.fspath(source), name, callback=_ticking(tick))
        system.invalidate_cache()
        there, here = _status(system.info(name)).size_bytes, source.stat().st_size
        if there != here:
            raise OSError(f"{there:,} of {here:,} bytes arrived")

    _patiently(copy, "written", path, tick)


def move(source: Path, target: Path) -> None:
    """Give a remote file another name on the same storage, over what is there.

    Storage that knows no renaming copies it within itself; the file appears there at one moment.
    If the source is gone and the target is there, it was done before.

    Raises:
        FileNotFoundError, UnreachableError: if that cannot be done.
    """

    def rename() -> None:
        system, old = _opened(source)
        _, new = _opened(target)
        here = _status_at(system, old)
        if here is None:
            if _status_at(system, new) is not None:
                return
            raise FileNotFoundError(address_of(source))
        _make_above(system, new)
        # Not `mv` where it is fsspec's own: that takes brackets in names for a pattern.
        renames = _is_one_of(system, _SSH)
        if renames:
            system.mv(old, new)
        else:
            system.cp_file(old, new)
        system.invalidate_cache()
        there = _status_at(system, new)
        if there is None or there.size_bytes != here.size_bytes:
            raise OSError("it did not arrive whole")
        if not renames:
            system.rm_file(old)

    _patiently(rename, "put in place", target)


def remove(path: Path) -> None:
    """Remove a remote file, or a folder with the files that are in it; never raises."""
    with contextlib.suppress(Exception):
        system, name = _opened(path)
        for file in system.find(name):
            system.rm_file(file)
        if _has_folders(system):
            system.rmdir(name)


def _has_folders(system: Any) -> bool:  # noqa: ANN401 - fsspec has no types
    return not _is_one_of(system, _S3)


def _is_one_of(system: Any, schemes: frozenset[str]) -> bool:  # noqa: ANN401 - likewise
    known = system.protocol  # one, or several
    return not schemes.isdisjoint({known} if isinstance(known, str) else known)


def _make_above(system: Any, name: str) -> None:  # noqa: ANN401 - likewise
    if _has_folders(system):
        system.makedirs(posixpath.dirname(name), exist_ok=True)


def _ticking(tick: Tick) -> Any:  # noqa: ANN401 - likewise
    from fsspec.callbacks import Callback

    class Ticking(Callback):  # type: ignore[misc]
        def call(self, *_arguments: object, **_named: object) -> None:
            tick()

    return Ticking()
