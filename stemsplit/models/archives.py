"""Runs in the supervisor. Reads the files of a model from a folder or an archive, up to a size."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from stemsplit.core.errors import ModelError, is_disk_full
from stemsplit.core.text import quoted
from stemsplit.models.catalogue import COMPANION_FILES, WEIGHTS_FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST_MODEL_BYTES = 2**30
"""Five times the largest published model; larger archives and files are refused."""

_MAX_MEMBERS = 1_000
"""Limit of members in an archive; a published one has six."""

_HEAD_BYTES = 6

_COMPRESSIONS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
"""First bytes of compressed files, with the function that opens each."""

_BROKEN_ARCHIVE = (
    OSError,
    EOFError,
    RuntimeError,  # zipfile: encrypted, or an unsupported method
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that the standard library raises for damaged or unsupported archives."""


def copy_model_files(source: Path, name: str, folder: Path) -> None:
    """Copy the files of a model from a folder or an archive (`.tar`, compressed or not, `.zip`).

    Args:
        source: the folder or archive.
        name: name of the model's folder in a zip archive.
        folder: where the files go.

    Raises:
        ModelError: if the archive is damaged or too large.
        OSError: if the disk is full.
    """
    try:
        if source.is_dir():
            _copy_known(_files_of_folder(source), folder)
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                _copy_known(_files_of_zip(archive, name), folder)
        else:
            with _decompressed(source) as stream, tarfile.TarFile(fileobj=stream) as archive:
                _copy_known(_files_of_tar(archive, source.name), folder)
    except _BROKEN_ARCHIVE as error:
        if is_disk_full(error):
            raise
        raise ModelError(
            f"Cannot unpack {quoted(source.name)} ({error}).", "Download or copy it again."
        ) from error


def _copy_known(files: Iterator[tuple[str, int, IO[bytes] | None]], folder: Path) -> None:
    """Copy the files of a model by name and ignore all others.

    Paths in the archive are never used, so none can lead out of `folder`.
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
        f"{_MAX_MEMBERS:,} files.",
        "Give the archive or the folder of the model itself.",
    )


class _Bounded(io.RawIOBase):
    """A stream that refuses to read more bytes than any model has.

    tarfile reads headers of the size that the archive declares into memory.
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
    """Open a tar file, which may be compressed."""
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
        if number >= _MAX_MEMBERS:
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
