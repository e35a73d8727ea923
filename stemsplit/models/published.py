"""Runs in the supervisor. Weights as published: their folder, manifest and verification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.errors import ModelError
from stemsplit.core.text import quoted
from stemsplit.models import store
from stemsplit.models.catalogue import COMPANION_FILES, RELEASE_URL, WEIGHTS_FILES

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.models.catalogue import Weights

MANIFEST = "stemsplit.json"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Manifest of a folder of weights.

    Attributes:
        source: origin of the files, for users.
        sha256: checksum of each file.
    """

    source: str
    sha256: dict[str, str]


def weights_folder(weights: Weights) -> Path:
    """Return the folder of `weights`, which may not exist."""
    return store.models_folder() / weights.name


def is_present(weights: Weights) -> bool:
    """Return whether the folder of `weights` contains anything."""
    folder = weights_folder(weights)
    return folder.is_dir() and any(folder.iterdir())


def verify(weights: Weights) -> Path:
    """Compare every file of `weights` with its checksum and return the folder.

    Raises:
        ModelError: if a file is missing or modified; names the file and the remedy.
    """
    folder = weights_folder(weights)
    remedy = f"Run `stemsplit models fetch {weights.name}` to download it again."
    if not folder.is_dir():
        raise ModelError(f"The model {weights.name} is not on this machine.", remedy)
    if fault := _fault(weights, folder):
        name, what = fault
        raise ModelError(f"The model file {quoted(folder / name)} {what}.", remedy)
    return folder


def unchecked(weights: Weights, folder: Path) -> list[str]:
    """Return the files whose checksum neither the catalogue nor the manifest contains."""
    manifest = read_manifest(folder)
    known = {*weights.file_sha256, *(manifest.sha256 if manifest else ())}
    return [name for name in WEIGHTS_FILES if name not in known]


def _fault(weights: Weights, folder: Path) -> tuple[str, str] | None:
    """Return the first invalid file and what is wrong with it; None if all are valid."""
    manifest = read_manifest(folder)
    expected = dict.fromkeys(WEIGHTS_FILES, "") | (manifest.sha256 if manifest else {})
    for name, checksum in (expected | weights.file_sha256).items():
        file = folder / name
        if not file.is_file():
            return name, "is missing"
        try:
            actual = store.sha256_of(file)
        except OSError as error:
            return name, f"cannot be read ({error.strerror})"
        if checksum and actual != checksum:
            return name, "differs from the published file: wrong SHA-256"
    return None


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder of weights; None if it is missing or invalid."""
    try:
        return store.decode_manifest(folder / MANIFEST, Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def install(weights: Weights, incoming: Path, source: str) -> Path:
    """Verify a folder of files and install it as `weights`, replacing the present folder.

    The manifest records `source`, the origin of the files.

    Raises:
        ModelError: if a file is missing or differs from the published one; the present folder
            stays.
    """
    if fault := _fault(weights, incoming):
        name, what = fault
        raise ModelError(
            f"The model file {quoted(name)} of {quoted(source)} {what}.",
            f"Get {weights.name}.tar.gz from {RELEASE_URL}.",
        )
    names = [name for name in (*WEIGHTS_FILES, *COMPANION_FILES) if (incoming / name).is_file()]
    checksums = {name: store.sha256_of(incoming / name) for name in names}
    manifest = Manifest(source=source, sha256=checksums)
    (incoming / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    (incoming / ".probe").write_text("OK")  # marks the model as complete for Spleeter's own command
    return store.put_in_place(incoming, weights_folder(weights))


def remove(weights: Weights) -> bool:
    """Remove the folder of `weights`, and return whether it existed.

    Raises:
        ModelError: if it cannot be removed.
    """
    return store.remove(weights_folder(weights))
