"""Writes checkpoints in TensorFlow's format without TensorFlow, for example with random weights.

A separate test checks that TensorFlow reads them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
from crc32c import crc32c

from stemsplit.child.engines.network_definitions import (
    CHECKPOINT_PREFIX,
    FILTERS,
    NORMALISATION_VARIABLES,
    network_of,
    variable_name,
)
from stemsplit.child.engines.weights import converted_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FLOAT32, INT64 = 1, 9


def masked(stored: bytes) -> int:
    """Return the masked checksum, as checkpoints store it."""
    checksum = crc32c(stored)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """Encode an unsigned integer with 7 bits per byte."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def field(number: int, value: int | bytes) -> bytes:
    """Encode a field of a protocol buffer message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32(number: int, value: int) -> bytes:
    """Encode a field of four bytes."""
    return varint(number << 3 | 5) + struct.pack("<I", value)


def header(shards: int = 1, *, big_endian: bool = False) -> bytes:
    """Encode a `BundleHeaderProto`."""
    return field(1, shards) + (field(2, 1) if big_endian else b"") + field(3, field(1, 1))


def entry(
    shape: Sequence[int], offset: int, stored: bytes, *, dtype: int = FLOAT32, extra: bytes = b""
) -> bytes:
    """Encode a `BundleEntryProto`."""
    axes = b"".join(field(2, field(1, axis)) for axis in shape)
    location = (field(4, offset) if offset else b"") + field(5, len(stored))
    return field(1, dtype) + field(2, axes) + location + fixed32(6, masked(stored)) + extra


def block(entries: Iterable[tuple[bytes, bytes]], *, compression: int = 0) -> bytes:
    """Encode a block with its trailer; keys share their common prefixes."""
    body, previous = bytearray(), b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
            shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body += key[shared:] + value
        previous = key
    body += struct.pack("<II", 0, 1)  # one restart point, the first entry
    body.append(compression)
    return bytes(body) + struct.pack("<I", masked(bytes(body)))


def table(
    entries: Sequence[tuple[bytes, bytes]], *, compression: int = 0, blocks: int = 2
) -> bytes:
    """Encode an index file with several blocks."""
    step = -(-len(entries) // blocks) or 1
    body, index_entries = b"", []
    for first in range(0, len(entries), step):
        encoded = block(entries[first : first + step], compression=compression)
        last_key = entries[first : first + step][-1][0]
        index_entries.append((last_key, varint(len(body)) + varint(len(encoded) - 5)))
        body += encoded
    filter_handle = varint(len(body)) + varint(len(empty := block([])) - 5)
    body += empty
    index = block(index_entries)
    footer = filter_handle + varint(len(body)) + varint(len(index) - 5)
    return body + index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def write_checkpoint(prefix: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write both files of a checkpoint."""
    data, entries = bytearray(), [(b"", header())]
    for name in sorted(tensors, key=str.encode):
        stored = tensors[name].astype("<f4").tobytes()
        entries.append((name.encode(), entry(tensors[name].shape, len(data), stored)))
        data += stored
    counter = struct.pack("<q", 0)
    entries.append((b"global_step", entry((), len(data), counter, dtype=INT64)))
    data += counter
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(sorted(entries)))


def write_random_weights(model: str, models: Path, seed: int) -> Path:
    """Write a checkpoint of random values in the layout of Spleeter's releases.

    Each stem has its own values, so that swapped stems are detected.

    Returns:
        the folder of the weights.
    """
    folder = models / model.removesuffix("-16kHz")
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for stem in range(len(network_of(model).stems)):
        shapes |= {
            array.checkpoint_name(stem): array.stored_shape for array in converted_file.arrays()
        }
        # Of the coarsest layer: no engine needs them, but TensorFlow's graph contains them.
        shapes |= {
            variable_name("batch_normalization", len(FILTERS) - 1, name, stem): (FILTERS[-1],)
            for name in NORMALISATION_VARIABLES
        }
    tensors = {name: _random_value(name, shape, random) for name, shape in shapes.items()}
    write_checkpoint(folder / CHECKPOINT_PREFIX, tensors)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{CHECKPOINT_PREFIX}"\n')
    (folder / ".probe").write_text("OK")
    return folder


def _random_value(
    name: str, shape: Sequence[int], random: np.random.Generator
) -> NDArray[np.float32]:
    layer, _, variable = name.rpartition("/")
    if variable == "kernel":
        # He initialisation, so that the random network preserves the level of its input. With a
        # stride of two, a transposed convolution adds a quarter of its kernel to each sample.
        inputs = shape[0] * shape[1] * (shape[3] / 4 if "transpose" in layer else shape[2])
        limit = float(np.sqrt(6 / inputs))
        return random.uniform(-limit, limit, shape).astype(np.float32)
    centre = 1.0 if variable in {"gamma", "moving_variance"} else 0.0
    return random.uniform(centre - 0.1, centre + 0.1, shape).astype(np.float32)
