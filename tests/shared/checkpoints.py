"""Checkpoints in TensorFlow's format, written without TensorFlow; and what to fill them with.

Whether TensorFlow itself reads them is a test of its own.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
from crc32c import crc32c

from stemsplit.child.engines.spleeter_models import CHECKPOINT, FILTERS, layer_name, network_of
from stemsplit.child.engines.weights import converted_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FLOAT32, INT64 = 1, 9


def masked(stored: bytes) -> int:
    """Give the checksum as it is written."""
    checksum = crc32c(stored)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """Write an unsigned integer, 7 bits a byte."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def field(number: int, value: int | bytes) -> bytes:
    """Write a field of a protocol buffer message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32(number: int, value: int) -> bytes:
    """Write a field that always has four bytes."""
    return varint(number << 3 | 5) + struct.pack("<I", value)


def header(shards: int = 1, *, big_endian: bool = False) -> bytes:
    """Write a `BundleHeaderProto`."""
    return field(1, shards) + (field(2, 1) if big_endian else b"") + field(3, field(1, 1))


def entry(
    shape: Sequence[int], offset: int, stored: bytes, *, dtype: int = FLOAT32, extra: bytes = b""
) -> bytes:
    """Write a `BundleEntryProto`."""
    axes = b"".join(field(2, field(1, axis)) for axis in shape)
    place = (field(4, offset) if offset else b"") + field(5, len(stored))
    return field(1, dtype) + field(2, axes) + place + fixed32(6, masked(stored)) + extra


def block(entries: Iterable[tuple[bytes, bytes]], *, compression: int = 0) -> bytes:
    """Write a block whose keys share what they can, with its trailer."""
    body, before = bytearray(), b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(before)) and key[shared] == before[shared]:
            shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body += key[shared:] + value
        before = key
    body += struct.pack("<II", 0, 1)  # one entry shares nothing, the first
    body.append(compression)
    return bytes(body) + struct.pack("<I", masked(bytes(body)))


def table(
    entries: Sequence[tuple[bytes, bytes]], *, compression: int = 0, blocks: int = 2
) -> bytes:
    """Write an index file in several blocks."""
    step = -(-len(entries) // blocks) or 1
    body, places = b"", []
    for first in range(0, len(entries), step):
        written = block(entries[first : first + step], compression=compression)
        last = entries[first : first + step][-1][0]
        places.append((last, varint(len(body)) + varint(len(written) - 5)))
        body += written
    filters = varint(len(body)) + varint(len(empty := block([])) - 5)
    body += empty
    index = block(places)
    footer = filters + varint(len(body)) + varint(len(index) - 5)
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

    Each stem gets values of its own, so that mixing two of them up would show.

    Returns:
        the folder of the weights.
    """
    folder = models / model.removesuffix("-16kHz")
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for stem in range(len(network_of(model).stems)):
        shapes |= {array.variable_of(stem): array.stored_shape for array in converted_file.arrays()}
        # Of the coarsest layer, which no engine needs, and TensorFlow's graph has.
        layer = layer_name(
            "batch_normalization", 5 + stem * converted_file.LAYERS["batch_normalization"]
        )
        shapes |= {f"{layer}/{name}": (FILTERS[-1],) for name in converted_file.NORMALISATION}
    tensors = {name: _random_value(name, shape, random) for name, shape in shapes.items()}
    write_checkpoint(folder / CHECKPOINT, tensors)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{CHECKPOINT}"\n')
    (folder / ".probe").write_text("OK")
    return folder


def _random_value(
    name: str, shape: Sequence[int], random: np.random.Generator
) -> NDArray[np.float32]:
    layer, _, kind = name.rpartition("/")
    if kind == "kernel":
        # He's limits, so that the random network passes signals on as loud as they come. With a
        # stride of two, a transposed convolution adds up a quarter of its kernel a sample.
        inputs = shape[0] * shape[1] * (shape[3] / 4 if "transpose" in layer else shape[2])
        limit = float(np.sqrt(6 / inputs))
        return random.uniform(-limit, limit, shape).astype(np.float32)
    centre = 1.0 if kind in {"gamma", "moving_variance"} else 0.0
    return random.uniform(centre - 0.1, centre + 0.1, shape).astype(np.float32)
