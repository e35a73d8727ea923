"""Runs in the supervisor. The ONNX engine's own files of a model's weights: made once, and checked.

They lie in a folder that bears the checksum of what they were made of, so that children use them
whatever becomes of the published files meanwhile. A process of its own makes them, since the
supervisor holds no arrays.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.compat import run_module
from stemsplit.core.errors import ModelError
from stemsplit.core.text import quoted
from stemsplit.core.weight_conversion import LAYOUT, Converted, NotConverted
from stemsplit.models import store
from stemsplit.models.catalogue import WEIGHTS_FILES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.models.catalogue import Model

FOLDER = "onnx"
"""In the folder of models; or in the user's cache, where that cannot be written."""

MANIFEST = "manifest.json"

_KEY_DIGITS = 16

_SECONDS = 600
"""After that a conversion, which takes one second on a disk of today, hangs."""

_answers: msgspec.json.Decoder[Converted | NotConverted] = msgspec.json.Decoder(
    Converted | NotConverted
)


def ensure_converted(
    model: Model, folder: Path, *, note: Callable[[str], None] = lambda _text: None
) -> Path:
    """Give the folder of a model's converted weights, made first where they are not as they were.

    Args:
        model: any of those that use the weights.
        folder: the verified folder of the published weights.
        note: is told what a person may want to know.

    Raises:
        ModelError: if the weights are not those of this model, or no folder can be written.
    """
    name = f"{model.weights.name}-{LAYOUT}-{_key_of(folder)}"
    usual = other = store.models_folder() / FOLDER
    with contextlib.suppress(ModelError):  # there may be no home folder
        other = store.cache_folder() / FOLDER
    for place in (usual / name, other / name):
        if fault_of(place) is None:
            return place
    try:
        return _made(model, folder, usual / name, note)
    except store.FolderError:
        if usual == other:
            raise
        return _made(model, folder, other / name, note)


def fault_of(place: Path) -> str | None:
    """Say why converted weights cannot be used.

    Returns:
        None if they can; else the end of a sentence, which is empty where there are none.
    """
    try:
        manifest = store.decode_manifest(place / MANIFEST, Converted)
    except (OSError, msgspec.DecodeError):
        return " once more: what is there has no manifest" if place.exists() else ""
    for name, checksum in manifest.sha256.items():
        try:
            if store.sha256_of(place / name) != checksum:
                return f" once more: {quoted(place / name)} is damaged"
        except OSError:
            return f" once more: {quoted(place / name)} cannot be read"
    return None


def _key_of(folder: Path) -> str:
    """Give a name to what is converted: a digest of the checksums of the published files."""
    manifest = store.read_manifest(folder)
    known = {} if manifest is None else manifest.sha256
    checksums = (known.get(name) or store.sha256_of(folder / name) for name in WEIGHTS_FILES)
    return hashlib.sha256(" ".join(checksums).encode()).hexdigest()[:_KEY_DIGITS]


def _made(model: Model, folder: Path, place: Path, note: Callable[[str], None]) -> Path:
    with store.filling(place.name, place.parent) as incoming:
        fault = fault_of(place)
        if fault is None:  # another process was quicker
            return place
        note(f"the weights of {model.weights.name} are converted for the engine onnx{fault}")
        answer = _convert(model, folder, incoming)
        for name, checksum in answer.sha256.items():
            if store.sha256_of(incoming / name) != checksum:
                raise ModelError(
                    f"{quoted(incoming / name)} is not what was written into it.",
                    "The disk is failing: set STEMSPLIT_MODELS to a folder on another one.",
                )
        (incoming / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(answer)))
        return store.put_in_place(incoming, place)


def _convert(model: Model, folder: Path, target: Path) -> Converted:
    name = model.weights.name
    command = run_module("stemsplit.child.engines.weights.convert")
    told = b""
    try:
        done = subprocess.run(  # noqa: S603 - this very program
            [*command, folder, str(len(model.stems)), target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        told = done.stderr
        answer = _answers.decode(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"The weights of {name} were not converted in {_SECONDS} s.",
            "The disk may hang: set STEMSPLIT_MODELS to a folder on another one.",
        ) from error
    except msgspec.DecodeError as error:
        last = (told.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise ModelError(
            f"The weights of {name} cannot be converted ({last}).",
            "Run `stemsplit doctor`; report it if that finds nothing.",
        ) from error
    if isinstance(answer, Converted):
        return answer
    if answer.error_number is not None:
        raise OSError(answer.error_number, answer.message)  # said of the folder
    raise ModelError(
        f"The weights of {name} in {quoted(folder)} cannot be used: {answer.message}.",
        f"Run `stemsplit models fetch {name}` to get them again.",
    )
