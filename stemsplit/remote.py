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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stemsplit.errors import StemsplitError, UnreachableError, UsageError
from stemsplit.text import quoted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

_ADDRESS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>[^/].*)", re.IGNORECASE | re.DOTALL
)
_PATH = re.compile(rb"/(?P<scheme>[a-z][a-z0-9+.-]+):/(?P<rest>.*)", re.DOTALL)

_EXTRAS = {"s3": "s3", "s3a": "s3", "sftp": "sftp", "ssh": "sftp"}

_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between attempts at one file, beside those that a library of its own makes."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a remote file: its size, and when it was last written, where that is told.

    Attributes:
        size_bytes: of the file.
        modified_ns: in nanoseconds since 1970; 0 if unknown.
    """

    size_bytes: int
    modified_ns: int


def path_of(name: str | os.PathLike[str]) -> Path:
    """Give a path for what a person writes: a path as it is, an address in the form kept here.

    Raises:
        UsageError: if the address has a password in it, which would be shown and written down.
    """
    text = os.fspath(name)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return Path(text)
    scheme, rest = found["scheme"].lower(), found["rest"]
    if scheme == "file":
        return Path("/", rest)
    host = rest.partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise UsageError(
            f"The address at {quoted(host.rpartition('@')[2])} has a password in it.",
            "Leave it out, and give it to the SSH agent or to the environment.",
        )
    return Path(f"/{scheme}:/{rest}")


def is_remote(path: str | bytes | os.PathLike[str]) -> bool:
    """Tell whether a path stands for an address."""
    return _PATH.fullmatch(os.fsencode(path)) is not None


def address_of(path: str | bytes | os.PathLike[str]) -> str:
    """Give the address that a path stands for."""
    found = _PATH.fullmatch(os.fsencode(path))
    if found is None:
        raise ValueError(f"{path!r} stands for no address")
    return f"{found['scheme'].decode()}://{os.fsdecode(found['rest'])}"


def module_of(path: str | bytes | os.PathLike[str]) -> str:
    """Give the module that a kind of address needs, for a fork server to import.

    Raises:
        UsageError: if it is not installed, or nobody knows that kind.
    """
    return str(_class_of(address_of(path).partition(":")[0]).__module__)


def _class_of(scheme: str) -> Any:  # noqa: ANN401 - fsspec has no types
    extra = _EXTRAS.get(scheme)
    what = f"stemsplit[{extra}]" if extra else "fsspec with what it needs for them"
    try:
        import fsspec

        return fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"Addresses that begin with {scheme}:// cannot be used ({error}).",
            f"Run `pip install '{what}'`." if extra else "Copy the files to a folder first.",
        ) from error


def _opened(path: Path | bytes | str) -> tuple[Any, str]:
    """Give the file system of an address, and the name that the address has in it."""
    import fsspec

    address = address_of(path)
    _class_of(address.partition(":")[0])
    system, name = fsspec.core.url_to_fs(address)
    system.invalidate_cache()  # what others have written since is not to be missed
    return system, str(name)


def _patiently(action: Callable[[], _Result], what: str, path: Path | bytes) -> _Result:
    """Do something with a remote file, again where that may help.

    Raises:
        FileNotFoundError, PermissionError: at once.
        UnreachableError: if all attempts fail.
    """
    for pause in (*_PAUSES_SECONDS, None):
        try:
            return action()
        except (FileNotFoundError, PermissionError, StemsplitError):
            raise
        except Exception as error:  # the libraries below raise all kinds
            if pause is None:
                raise UnreachableError(
                    f"{quoted(path)} cannot be {what} ({type(error).__name__}: {error}).",
                    "Look after the network and the storage, and run the same command again.",
                ) from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def status(path: Path | bytes) -> Status | None:
    """Look at a remote file; None if there is none.

    Raises:
        PermissionError, UnreachableError: if that cannot be told.
    """

    def look() -> Status | None:
        try:
            system, name = _opened(path)
            return _status(system.info(name))
        except FileNotFoundError:
            return None

    return _patiently(look, "looked at", path)


def is_folder(path: Path) -> bool:
    """Tell whether there is anything below a path.

    Raises:
        PermissionError, UnreachableError: if that cannot be told.
    """

    def look() -> bool:
        system, name = _opened(path)
        return bool(system.isdir(name))

    return _patiently(look, "looked at", path)


def listing(path: Path) -> dict[Path, Status]:
    """List the files below a path, hidden ones included, by name.

    Raises:
        PermissionError, UnreachableError: if that cannot be done.
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


def fetch(path: Path, target: Path, tick: Callable[[], None]) -> None:
    """Copy a remote file to this machine, whole.

    Args:
        path: the remote file.
        target: the new file.
        tick: is called now and then meanwhile, and may raise.

    Raises:
        FileNotFoundError, PermissionError, UnreachableError: if that cannot be done.
    """

    def copy() -> None:
        system, name = _opened(path)
        size = _status(system.info(name)).size_bytes
        system.get_file(name, os.fspath(target), callback=_ticking(tick))
        if size and target.stat().st_size != size:
            raise OSError(f"{target.stat().st_size:,} of {size:,} bytes came")

    _patiently(copy, "fetched", path)


def send(source: Path, path: Path, tick: Callable[[], None]) -> None:
    """Copy a file of this machine to a remote place, whole.

    Args:
        source: the file.
        path: the place; what is above it is made if need be.
        tick: is called now and then meanwhile, and may raise.

    Raises:
        PermissionError, UnreachableError: if that cannot be done.
    """

    def copy() -> None:
        system, name = _opened(path)
        _make_above(system, name)
        system.put_file(os.fspath(source), name, callback=_ticking(tick))
        system.invalidate_cache()
        there, here = _status(system.info(name)).size_bytes, source.stat().st_size
        if there != here:
            raise OSError(f"{there:,} of {here:,} bytes arrived")

    _patiently(copy, "written", path)


def move(source: Path, target: Path) -> None:
    """Give a remote file another name on the same storage, over what is there.

    Storage that knows no renaming copies it within itself; the file appears there at one moment.
    If the source is gone and the target is there, it was done before.

    Raises:
        FileNotFoundError, PermissionError, UnreachableError: if that cannot be done.
    """

    def rename() -> None:
        system, old = _opened(source)
        new = str(system._strip_protocol(address_of(target)))  # noqa: SLF001 - as fsspec's own tools
        if not system.exists(old):
            if system.exists(new):
                return
            raise FileNotFoundError(address_of(source))
        _make_above(system, new)
        system.mv(old, new)

    _patiently(rename, "put in place", target)


def remove(path: Path) -> None:
    """Remove a remote file, or a folder with all that is in it; never raises."""
    with contextlib.suppress(Exception):
        system, name = _opened(path)
        if system.exists(name):
            system.rm(name, recursive=True)


def _make_above(system: Any, name: str) -> None:  # noqa: ANN401 - fsspec has no types
    """Make the folders above a file where the storage has some."""
    if not hasattr(system, "bucket_exists") and not type(system).__name__.startswith("S3"):
        system.makedirs(posixpath.dirname(name), exist_ok=True)


def _ticking(tick: Callable[[], None]) -> Any:  # noqa: ANN401 - likewise
    from fsspec.callbacks import Callback

    class Ticking(Callback):  # type: ignore[misc]
        def call(self, *_arguments: object, **_named: object) -> None:
            tick()

    return Ticking()
