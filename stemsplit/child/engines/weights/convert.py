"""Runs in a process of its own. Turns a checkpoint into the ONNX engine's files of weights.

    python -m stemsplit.child.engines.weights.convert CHECKPOINTS STEMS FOLDER

Writes `FOLDER/0/weights` and so on, one for each of the stems, and prints the SHA-256 of each as
JSON, or what is wrong with the checkpoint.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from stemsplit.child.engines.spleeter_models import CHECKPOINT
from stemsplit.child.engines.weights import converted_file
from stemsplit.child.engines.weights.checkpoint import Checkpoint, CheckpointError
from stemsplit.core.weight_conversion import Converted, NotConverted

if TYPE_CHECKING:
    from typing import BinaryIO


def convert(prefix: Path, stems: int, folder: Path) -> Converted:
    """Write the files of weights of a model.

    Args:
        prefix: of the checkpoint's files.
        stems: of the model; its checkpoint must have weights for exactly so many.
        folder: to write into.

    Raises:
        CheckpointError: if the checkpoint cannot be read, is damaged, or one of another network.
        OSError: if the files cannot be written.
    """
    try:
        checkpoint = Checkpoint(prefix)
    except OSError as error:
        raise CheckpointError(f"they cannot be read ({error.strerror})") from error
    _require_stems(checkpoint, stems)
    checksums = {}
    for stem in range(stems):
        name = f"{stem}/{converted_file.FILE_NAME}"
        path = folder / name
        path.parent.mkdir()
        with path.open("xb") as file:
            checksums[name] = _write(checkpoint, stem, file)
            file.flush()
            os.fsync(file.fileno())
    return Converted(sha256=checksums)


def _require_stems(checkpoint: Checkpoint, stems: int) -> None:
    """Refuse one with more stems; one with fewer lacks a tensor."""
    first = converted_file.arrays()[0]
    if first.variable_of(stems) in checkpoint.entries:
        raise CheckpointError(f"it has weights for more than {stems} stems")


def _write(checkpoint: Checkpoint, stem: int, file: BinaryIO) -> str:
    digest = hashlib.sha256()
    at = 0
    for name, group in itertools.groupby(
        converted_file.arrays(), lambda array: array.variable_of(stem)
    ):
        arrays = list(group)
        stored = checkpoint.tensor(name)
        if stored.shape != arrays[0].stored_shape:
            raise CheckpointError(f"{name} is {stored.shape}, not {arrays[0].stored_shape}")
        if not np.isfinite(stored).all():
            raise CheckpointError(f"{name} has values that are no numbers")
        for array in arrays:
            for piece in (b"\0" * (array.offset - at), array.of(stored).tobytes()):
                file.write(piece)
                digest.update(piece)
            at = array.offset + array.size_bytes
    return digest.hexdigest()


def main() -> None:
    """Do what the command line says."""
    prefix, stems, folder = Path(sys.argv[1], CHECKPOINT), int(sys.argv[2]), Path(sys.argv[3])
    answer: Converted | NotConverted
    try:
        answer = convert(prefix, stems, folder)
    except CheckpointError as error:
        answer = NotConverted(message=str(error))
    except OSError as error:
        answer = NotConverted(message=error.strerror or str(error), error_number=error.errno)
    os.write(sys.stdout.fileno(), msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
