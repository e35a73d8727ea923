"""Runs in the supervisor. The folder of models: its path, and atomic changes in it.

It contains one folder for each set of weights, like Spleeter's own `pretrained_models`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import filelock
import msgspec

from stemsplit.core.errors import ModelError
from stemsplit.storage.safe_paths import OutsideError, require_inside
from stemsplit.storage.small_files import read_json
from stemsplit.storage.user_folders import user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES = 2**20


class HasChecksums(Protocol):
    """A manifest with checksums."""

    @property
    def sha256(self) -> dict[str, str]:
        """Checksum of each file, by its path below the folder."""


_Kind = TypeVar("_Kind", bound=HasChecksums)

_MAX_MANIFEST_BYTES = 2**20


def models_folder() -> Path:
    """Return the folder of models.

    It is `STEMSPLIT_MODELS` if set, else Spleeter's `MODEL_PATH` if set, else `models` in the
    user's cache folder.

    Raises:
        ModelError: if neither is set and the user has no home folder.
    """
    for variable in ("STEMSPLIT_MODELS", "MODEL_PATH"):
        if value := os.environ.get(variable):
            return Path(os.path.expanduser(value)).absolute()  # noqa: PTH111 - needs no home
    return cache_folder()


def cache_folder() -> Path:
    """Return the folder of models in the user's cache; raise `ModelError` without a home folder."""
    own = user_folder("cache")
    if own is None:
        raise ModelError(
            "No home folder to store models in.", "Set HOME, or set STEMSPLIT_MODELS to a folder."
        )
    return own / "models"


def decode_manifest(file: Path, kind: type[_Kind]) -> _Kind:
    """Read a manifest of type `kind`.

    Raises:
        OSError: if the file is missing, not a regular file, or too large.
        msgspec.DecodeError: if it is not a manifest, or names files outside the folder.
    """
    try:
        manifest = read_json(file, kind, _MAX_MANIFEST_BYTES)
        for name in manifest.sha256:
            require_inside(os.fsencode(name))
    except (OutsideError, UnicodeError) as error:
        raise msgspec.DecodeError(str(error)) from error
    return manifest


class FolderError(ModelError):
    """A folder of models is not writable; another one may be."""


@contextlib.contextmanager
def filling(name: str, parent: Path) -> Iterator[Path]:
    """Yield a hidden folder for incoming files, and remove it in the end.

    Only one process at a time enters; others wait. Folders of killed processes are removed.

    Args:
        name: name of the files' final folder.
        parent: folder that contains it; created if missing.

    Raises:
        FolderError: if `parent` is not writable.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(parent / f".{name}.lock"):
            for leftover in parent.glob(f".{name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            incoming = parent / f".{name}-{uuid.uuid4().hex}"
            incoming.mkdir()
            try:
                yield incoming
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
    except OSError as error:
        raise FolderError(
            f"The models folder “{parent}” is not writable ({error.strerror or error}).",
            "Free some space there, or set STEMSPLIT_MODELS to another folder.",
        ) from error


def put_in_place(incoming: Path, target: Path) -> Path:
    """Rename a complete folder to `target`, replacing the folder there; return `target`."""
    if target.exists():
        replaced = incoming.with_name(f"{incoming.name}-replaced")
        target.rename(replaced)
        incoming.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        incoming.rename(target)
    return target


def remove(target: Path) -> bool:
    """Remove a folder at once, as others see it, and return whether it existed.

    Raises:
        FolderError: if its parent is not writable.
    """
    with filling(target.name, target.parent) as incoming:
        with contextlib.suppress(FileNotFoundError):
            target.rename(incoming / target.name)
            return True
        return False


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal; raise `OSError` for other files."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(file))
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
        return digest.hexdigest()
