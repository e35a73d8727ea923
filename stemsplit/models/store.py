"""Runs in the supervisor. The folder of models: where it is, and which models in it are whole.

Layout: one folder for each set of weights, as Spleeter lays out its own `pretrained_models`, and in
each the manifest `stemsplit.json` with the checksums that were found when the files came. Files
whose checksum the catalogue knows are held against that instead.
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
from stemsplit.core.text import quoted
from stemsplit.models.catalogue import COMPANION_FILES, RELEASE_URL, WEIGHTS_FILES
from stemsplit.storage.untrusted import OutsideError, read_file, require_inside
from stemsplit.storage.user_folders import own_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.models.catalogue import Weights

MANIFEST = "stemsplit.json"

_PIECE_BYTES = 2**20


class HasChecksums(Protocol):
    """A manifest."""

    @property
    def sha256(self) -> dict[str, str]:
        """Of each file, by its path below the folder."""


_Kind = TypeVar("_Kind", bound=HasChecksums)

_MOST_MANIFEST_BYTES = 2**20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a folder of weights since it was filled.

    Attributes:
        source: where the files came from, for people.
        sha256: of each file.
    """

    source: str
    sha256: dict[str, str]


def models_folder() -> Path:
    """Find the folder of models.

    `STEMSPLIT_MODELS` if set, else Spleeter's `MODEL_PATH` if set, else `models` in the user's
    cache folder.
    """
    for variable in ("STEMSPLIT_MODELS", "MODEL_PATH"):
        if value := os.environ.get(variable):
            return Path(os.path.expanduser(value)).absolute()  # noqa: PTH111 - needs no home
    return cache_folder()


def cache_folder() -> Path:
    """Find the folder of models that is a user's own, whatever is set; raises `ModelError`."""
    own = own_folder("cache")
    if own is None:
        raise ModelError(
            "There is no home folder to keep models in.",
            "Set HOME, or set STEMSPLIT_MODELS to a folder.",
        )
    return own / "models"


def weights_folder(weights: Weights) -> Path:
    """Give the folder of `weights`, whether it exists or not."""
    return models_folder() / weights.name


def is_present(weights: Weights) -> bool:
    """Tell whether there is anything at all in the folder of `weights`."""
    folder = weights_folder(weights)
    return folder.is_dir() and any(folder.iterdir())


def verify(weights: Weights) -> Path:
    """Hold every file of `weights` against its checksum.

    Returns:
        the folder.

    Raises:
        ModelError: if a file is missing or altered; it names the file and the remedy.
    """
    folder = weights_folder(weights)
    remedy = f"Run `stemsplit models fetch {weights.name}` to get it again."
    if not folder.is_dir():
        raise ModelError(f"The model {weights.name} is not on this machine.", remedy)
    if fault := _fault(weights, folder):
        name, what = fault
        raise ModelError(f"The model file {quoted(folder / name)} {what}.", remedy)
    return folder


def unchecked(weights: Weights, folder: Path) -> list[str]:
    """List the weights' files whose checksum neither the catalogue nor the manifest knows."""
    manifest = read_manifest(folder)
    known = {*weights.file_sha256, *(manifest.sha256 if manifest else ())}
    return [name for name in WEIGHTS_FILES if name not in known]


def _fault(weights: Weights, folder: Path) -> tuple[str, str] | None:
    """Find the first file that is not as it should be, and say what is wrong with it."""
    manifest = read_manifest(folder)
    expected = dict.fromkeys(WEIGHTS_FILES, "") | (manifest.sha256 if manifest else {})
    for name, checksum in (expected | weights.file_sha256).items():
        file = folder / name
        if not file.is_file():
            return name, "is missing"
        try:
            actual = sha256_of(file)
        except OSError as error:
            return name, f"cannot be read ({error.strerror})"
        if checksum and actual != checksum:
            return name, "is not the one that was published: its SHA-256 differs"
    return None


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder of weights; None if there is none that can be read."""
    try:
        return decode_manifest(folder / MANIFEST, Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def decode_manifest(file: Path, kind: type[_Kind]) -> _Kind:
    """Read a manifest.

    Raises:
        OSError: if there is none that is a file of a sane size.
        msgspec.DecodeError: if it is no manifest, or names files outside of the folder.
    """
    try:
        content = read_file(file, _MOST_MANIFEST_BYTES)
        manifest: _Kind = msgspec.json.decode(content, type=kind)
        for name in manifest.sha256:
            require_inside(os.fsencode(name))
    except (OutsideError, RecursionError, UnicodeError) as error:
        raise msgspec.DecodeError(str(error)) from error
    return manifest


class FolderError(ModelError):
    """A folder of models cannot be written; another one might."""


@contextlib.contextmanager
def filling(name: str, parent: Path) -> Iterator[Path]:
    """Give a hidden folder to collect files in; it is removed in the end, whatever happens.

    One process at a time: a second one waits here. What a killed one left behind is removed.

    Args:
        name: of what is collected.
        parent: where it will be, made if need be.

    Raises:
        FolderError: if that cannot be written.
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
            f"The folder of models “{parent}” cannot be written ({error.strerror or error}).",
            "Make room there, or set STEMSPLIT_MODELS to another folder.",
        ) from error


def install(weights: Weights, incoming: Path, source: str) -> Path:
    """Check a folder of files and put it in the place of `weights`, over what is there.

    Raises:
        ModelError: if a file is missing or is not the published one; what was there stays.
    """
    if fault := _fault(weights, incoming):
        name, what = fault
        raise ModelError(
            f"The model file {quoted(name)} of {quoted(source)} {what}.",
            f"Get {weights.name}.tar.gz from {RELEASE_URL}.",
        )
    names = [name for name in (*WEIGHTS_FILES, *COMPANION_FILES) if (incoming / name).is_file()]
    manifest = Manifest(source=source, sha256={name: sha256_of(incoming / name) for name in names})
    (incoming / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    (incoming / ".probe").write_text("OK")  # tells Spleeter's own command that the model is there
    return put_in_place(incoming, weights_folder(weights))


def put_in_place(incoming: Path, place: Path) -> Path:
    """Give a folder that is whole its name, over what bears it; gives the place."""
    if place.exists():
        replaced = incoming.with_name(f"{incoming.name}-replaced")
        place.rename(replaced)
        incoming.rename(place)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        incoming.rename(place)
    return place


def sha256_of(file: Path) -> str:
    """Give the SHA-256 of a file in hexadecimal; raises `OSError`, also for devices and pipes."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(file))
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
        return digest.hexdigest()
