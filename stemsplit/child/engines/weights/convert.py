"""Runs in a process of its own. Converts a checkpoint to the ONNX engine's files of weights.

    python -m stemsplit.child.engines.weights.convert CHECKPOINT_FOLDER STEMS FOLDER

Writes `FOLDER/0/weights`, `FOLDER/1/weights` and so on, one file per stem, and prints the SHA-256
of each as JSON (`Converted`), or why the conversion failed (`NotConverted`).
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

from stemsplit.child.engines.network_definitions import CHECKPOINT_PREFIX
from stemsplit.child.engines.weights import converted_file
from stemsplit.child.engines.weights.checkpoint import Checkpoint, CheckpointError
from stemsplit.core.conversion_messages import Converted, NotConverted

if TYPE_CHECKING:
    from typing import BinaryIO


def convert_checkpoint(prefix: Path, stems: int, folder: Path) -> Converted:
    """Write one file of weights per stem.

    Args:
        prefix: path of the checkpoint's files without their suffixes.
        stems: exact number of stems that the checkpoint must have weights for.
        folder: where to write.

    Raises:
        CheckpointError: if the checkpoint cannot be read, is damaged, or belongs to another
            network.
        OSError: if a file cannot be written.
    """
    try:
        checkpoint = Checkpoint(prefix)
    except OSError as error:
        raise CheckpointError(f"they cannot be read ({error.strerror})") from error
    # In a checkpoint with fewer stems, a tensor will be missing.
    if converted_file.arrays()[0].checkpoint_name(stems) in checkpoint.entries:
        raise CheckpointError(f"they are for more than {stems} stems")
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


def _write(checkpoint: Checkpoint, stem: int, file: BinaryIO) -> str:
    """Write the weights of a stem and return the SHA-256 of the file."""
    digest = hashlib.sha256()
    position = 0
    for name, group in itertools.groupby(
        converted_file.arrays(), lambda array: array.checkpoint_name(stem)
    ):
        arrays = list(group)
        stored = checkpoint.tensor(name)
        if stored.shape != arrays[0].stored_shape:
            raise CheckpointError(f"{name} is {stored.shape}, not {arrays[0].stored_shape}")
        if not np.isfinite(stored).all():
            raise CheckpointError(f"{name} has values that are not finite")
        for array in arrays:
            padding = b"\0" * (array.offset - position)
            for data in (padding, array.converted(stored).tobytes()):
                file.write(data)
                digest.update(data)
            position = array.offset + array.size_bytes
    return digest.hexdigest()


def main() -> None:
    """Convert the checkpoint that the command line names, and print the result."""
    folder, stems, target = sys.argv[1:]
    result: Converted | NotConverted
    try:
        result = convert_checkpoint(Path(folder, CHECKPOINT_PREFIX), int(stems), Path(target))
    except CheckpointError as error:
        result = NotConverted(message=str(error))
    except OSError as error:
        result = NotConverted(message=error.strerror or str(error), error_number=error.errno)
    os.write(sys.stdout.fileno(), msgspec.json.encode(result))


if __name__ == "__main__":
    main()
