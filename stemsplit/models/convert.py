"""Runs in the supervisor. The ONNX engine's own files of a model's weights: made once, and checked.

They lie in a folder `onnx` below the published files, with a manifest of their checksums and of the
file that they were made of. A process of its own makes them, since the supervisor holds no arrays.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import msgspec

from stemsplit.compat import run_module
from stemsplit.conversion import CONVERTED_FOLDER, Converted, NotConverted
from stemsplit.errors import ModelError
from stemsplit.models import store
from stemsplit.models.catalogue import WEIGHTS_FILES
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.models.catalogue import Model

_MANIFEST = "manifest.json"

_LAYOUT = 1
"""`stemsplit.child.engines.layout.VERSION`, which a test holds against it."""

_SECONDS = 600
"""After that a conversion, which takes one second on a disk of today, hangs."""

_answers: msgspec.json.Decoder[Converted | NotConverted] = msgspec.json.Decoder(
    Converted | NotConverted
)


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of converted weights.

    Attributes:
        layout: version of the form they have.
        made_of: SHA-256 of each published file that they were made of.
        sha256: of each of them, by its path below the folder.
    """

    layout: int
    made_of: dict[str, str]
    sha256: dict[str, str]


def ensure_converted(
    model: Model, folder: Path, *, note: Callable[[str], None] = lambda _text: None
) -> Path:
    """Give the folder of a model's converted weights, made first where they are not as they were.

    Args:
        model: any of those that use the weights.
        folder: the verified folder of the weights.
        note: is told what a person may want to know.

    Raises:
        ModelError: if the weights are not those of this model, or the folder cannot be written.
    """
    if (fault := fault_of(folder)) is None:
        return folder / CONVERTED_FOLDER
    with store.filling(model.weights) as incoming:
        if (fault := fault_of(folder)) is None:  # another process was quicker
            return folder / CONVERTED_FOLDER
        note(f"the weights of {model.weights.name} are converted for the engine onnx{fault}")
        answer = _convert(model, folder, incoming)
        manifest = _Manifest(
            layout=_LAYOUT, made_of=_sources(folder), sha256=_checked(incoming, answer)
        )
        (incoming / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        return store.put_in_place(incoming, folder / CONVERTED_FOLDER)


def fault_of(folder: Path) -> str | None:
    """Say why the converted weights in the folder of a model cannot be used.

    Returns:
        None if they can; else the end of a sentence, which is empty where there are none.
    """
    place = folder / CONVERTED_FOLDER
    try:
        manifest = msgspec.json.decode((place / _MANIFEST).read_bytes(), type=_Manifest)
    except (OSError, msgspec.DecodeError):
        return " once more: what is there has no manifest" if place.exists() else ""
    if manifest.layout != _LAYOUT:
        return " once more: what is there was made by another version"
    if manifest.made_of != _sources(folder):
        return " once more: what is there was made of other ones"
    for name, checksum in manifest.sha256.items():
        try:
            if store.sha256_of(place / name) != checksum:
                return f" once more: {quoted(place / name)} is damaged"
        except OSError:
            return f" once more: {quoted(place / name)} cannot be read"
    return None


def _sources(folder: Path) -> dict[str, str]:
    """Give the checksums of the files that a conversion is made of, which were verified before."""
    manifest = store.read_manifest(folder)
    known = {} if manifest is None else manifest.sha256
    return {name: known.get(name) or store.sha256_of(folder / name) for name in WEIGHTS_FILES}


def _convert(model: Model, folder: Path, target: Path) -> Converted:
    try:
        done = subprocess.run(  # noqa: S603 - this very program
            [
                *run_module("stemsplit.child.engines.convert"),
                *(folder, str(len(model.stems)), target),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        answer = _answers.decode(done.stdout)
    except (msgspec.DecodeError, subprocess.TimeoutExpired) as error:
        told = getattr(error, "stderr", None) or done.stderr
        last = (told.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise ModelError(
            f"The weights of {model.weights.name} cannot be converted ({last}).",
            "Report it; the engine tensorflow does without.",
        ) from error
    if isinstance(answer, Converted):
        return answer
    if answer.error_number is not None:
        raise OSError(answer.error_number, answer.message)  # said of the folder of models
    raise ModelError(
        f"The weights of {model.weights.name} in {quoted(folder)} cannot be used: "
        f"{answer.message}.",
        f"Run `stemsplit models fetch {model.weights.name}` to get them again.",
    )


def _checked(folder: Path, answer: Converted) -> dict[str, str]:
    """Read back from the disk what was written."""
    for name, checksum in answer.sha256.items():
        if store.sha256_of(folder / name) != checksum:
            raise ModelError(
                f"{quoted(folder / name)} is not what was written into it.",
                "The disk is failing: set STEMSPLIT_MODELS to a folder on another one.",
            )
    return answer.sha256
