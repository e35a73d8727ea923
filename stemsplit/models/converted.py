"""Runs in the supervisor. Converted weights for the ONNX engine: conversion, verification.

Their folder is named after the checksum of the published files, so that running children can use
them even if those files change. A process of its own converts them, because the supervisor loads no
array library.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.compat import run_module
from stemsplit.core.conversion_messages import LAYOUT, Converted, NotConverted
from stemsplit.core.errors import ModelError
from stemsplit.core.text import quoted
from stemsplit.models import published, store
from stemsplit.models.catalogue import WEIGHTS_FILES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.models.catalogue import Model

FOLDER = "onnx"
"""Subfolder of the folder of models, or of the user's cache if that is not writable."""

MANIFEST = "manifest.json"

_KEY_DIGITS = 16

_TIMEOUT_SECONDS = 600
"""A conversion takes about a second; beyond this limit it counts as stalled."""

_answers: msgspec.json.Decoder[Converted | NotConverted] = msgspec.json.Decoder(
    Converted | NotConverted
)


def ensure_converted(
    model: Model, folder: Path, *, note: Callable[[str], None] = lambda _text: None
) -> Path:
    """Return the folder of a model's converted weights, and convert them if needed.

    Args:
        model: any model that uses the weights.
        folder: verified folder of the published weights.
        note: called with messages for the user.

    Raises:
        ModelError: if the weights are not those of this model, or no folder is writable.
    """
    candidates = _candidates(model, folder)
    for path in candidates:
        if fault_of(path) is None:
            return path
    *preferred, last = candidates
    for path in preferred:
        with contextlib.suppress(store.FolderError):
            return _make(model, folder, path, note)
    return _make(model, folder, last, note)


def verify(model: Model, folder: Path) -> Path:
    """Compare converted weights with their checksums and return their folder.

    Args:
        model: any model that uses the weights.
        folder: verified folder of the published weights.

    Raises:
        ModelError: if they are missing or damaged.
    """
    for path in _candidates(model, folder):
        if fault_of(path) is None:
            return path
    raise ModelError(
        f"The weights of {model.weights.name} are not converted, or damaged.",
        f"Run `stemsplit models fetch {model.weights.name}`.",
    )


def _candidates(model: Model, folder: Path) -> list[Path]:
    name = f"{model.weights.name}-{LAYOUT}-{_key_of(folder)}"
    return [parent / name for parent in _parents()]


def remove(model: Model) -> bool:
    """Remove all converted weights of a model, and return whether there were any.

    Raises:
        ModelError: if a folder is not writable.
    """
    folders = [path for parent in _parents() for path in parent.glob(f"{model.weights.name}-*")]
    removed = [store.remove(path) for path in folders]
    return any(removed)


def _parents() -> list[Path]:
    """Return the folders that may contain converted weights, the preferred one first."""
    parents = [store.models_folder() / FOLDER]
    with contextlib.suppress(ModelError):  # the user may have no home folder
        parents.append(store.cache_folder() / FOLDER)
    return list(dict.fromkeys(parents))


def fault_of(path: Path) -> str | None:
    """Return why the converted weights in a folder are unusable.

    Returns:
        None if they are valid; else the end of a sentence, empty if there are none.
    """
    try:
        manifest = store.decode_manifest(path / MANIFEST, Converted)
    except (OSError, msgspec.DecodeError):
        return " again: the manifest is missing or invalid" if path.exists() else ""
    for name, checksum in manifest.sha256.items():
        try:
            if store.sha256_of(path / name) != checksum:
                return f" again: {quoted(path / name)} is damaged"
        except OSError:
            return f" again: {quoted(path / name)} is unreadable"
    return None


def _key_of(folder: Path) -> str:
    """Return a digest of the checksums of the published files."""
    manifest = published.read_manifest(folder)
    known = {} if manifest is None else manifest.sha256
    checksums = (known.get(name) or store.sha256_of(folder / name) for name in WEIGHTS_FILES)
    return hashlib.sha256(" ".join(checksums).encode()).hexdigest()[:_KEY_DIGITS]


def _make(model: Model, folder: Path, path: Path, note: Callable[[str], None]) -> Path:
    with store.filling(path.name, path.parent) as incoming:
        fault = fault_of(path)
        if fault is None:  # another process was faster
            return path
        note(f"converting the weights of {model.weights.name} for the onnx engine{fault}")
        answer = _convert(model, folder, incoming)
        for name, checksum in answer.sha256.items():
            if store.sha256_of(incoming / name) != checksum:
                raise ModelError(
                    f"{quoted(incoming / name)} differs from what was written to it.",
                    "The disk may be failing: set STEMSPLIT_MODELS to a folder on another disk.",
                )
        (incoming / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(answer)))
        return store.put_in_place(incoming, path)


def _convert(model: Model, folder: Path, target: Path) -> Converted:
    name = model.weights.name
    command = run_module("stemsplit.child.engines.weights.convert")
    stderr = b""
    try:
        done = subprocess.run(  # noqa: S603 - a module of stemsplit
            [*command, folder, str(len(model.stems)), target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        stderr = done.stderr
        answer = _answers.decode(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"Converting the weights of {name} took more than {_TIMEOUT_SECONDS} s.",
            "The disk may not be responding: set STEMSPLIT_MODELS to a folder on another disk.",
        ) from error
    except msgspec.DecodeError as error:
        last = (stderr.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
        raise ModelError(
            f"Cannot convert the weights of {name} ({last}).",
            "Run `stemsplit doctor`; if that finds nothing, please report a bug.",
        ) from error
    if isinstance(answer, Converted):
        return answer
    if answer.error_number is not None:
        raise OSError(answer.error_number, answer.message)  # concerns the folder
    raise ModelError(
        f"The weights of {name} in {quoted(folder)} are unusable: {answer.message}.",
        f"Run `stemsplit models fetch {name}` to download them again.",
    )
