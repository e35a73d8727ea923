"""Runs in the child. Reads TensorFlow checkpoints without TensorFlow.

A checkpoint with one shard consists of two files
(`tensorflow/core/util/tensor_bundle/tensor_bundle.h`):

- `NAME.data-00000-of-00001` contains the bytes of all tensors, little-endian, in row-major order.
- `NAME.index` is a sorted table from names to `BundleEntryProto` messages
  (`tensorflow/core/protobuf/tensor_bundle.proto`), which locate the tensors in the data file. The
  empty name comes first and maps to a `BundleHeaderProto`.

The table has LevelDB's format (`tensorflow/core/lib/io/format.h`, and `doc/table_format.md` of
google/leveldb). It ends with a footer of 48 bytes: the handles of the metaindex block and of the
index block, zero padding, and a magic number. A block handle is two varints, offset and size. Each
block is followed by a byte for its compression and by a checksum. An entry of a block consists of
three varints (the length of the prefix shared with the previous key, of the rest of the key, and of
the value), the rest of the key, and the value. A block ends with the restart array: the 32-bit
offsets of the entries that share no prefix, and their number.

Checksums are masked CRC-32C (`tensorflow/core/lib/hash/crc32c.h`): rotated, plus a constant,
because a checksum of data that contain their own checksum would be weak.

Every value is validated before use, because the files come from the network.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MAX_INDEX_BYTES = 2**20
"""The index of Spleeter's largest model has 13 KB."""

_MAX_ENTRIES = 10_000
"""Spleeter's largest model has 450."""
_MAX_NAME_BYTES = 1024
_MAX_AXES = 8
_MAX_VALUES = 2**48

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5
_UNCOMPRESSED = 0
_MAX_VARINT_BYTES = 10
_MASK_DELTA = 0xA282EAD8

_FLOAT32 = 1
"""`DT_FLOAT` of `tensorflow/core/framework/types.proto`."""


class CheckpointError(ValueError):
    """The files are not a checkpoint, or are damaged, or use an unsupported feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The index entry of a tensor (`BundleEntryProto`).

    Attributes:
        dtype: `DataType` number; 1 is float32.
        shape: shape of the tensor.
        offset, size: position and size in the data file, in bytes.
        checksum: masked CRC-32C of these bytes.
    """

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


class Checkpoint:
    """An open checkpoint.

    Args:
        prefix: path of its files without `.index` and `.data-00000-of-00001`.

    Attributes:
        entries: the entry of each tensor, by name.

    Raises:
        CheckpointError: if the index is invalid.
        OSError: if a file cannot be read.
    """

    def __init__(self, prefix: Path) -> None:
        index = prefix.with_name(f"{prefix.name}.index")
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise CheckpointError(f"the index has more than {MAX_INDEX_BYTES:,} bytes")
        self.entries: Mapping[str, Entry] = read_index(index.read_bytes())
        data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
        size = data.stat().st_size
        for name, entry in self.entries.items():
            if entry.offset + entry.size > size:
                raise CheckpointError(f"{name} extends beyond the end of the data file")
        # An empty file cannot be mapped.
        self._data: NDArray[np.uint8] = (
            np.memmap(data, np.uint8, "r") if size else np.zeros(0, np.uint8)
        )

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a tensor without a copy, after verifying its checksum.

        Returns:
            a read-only float32 array.

        Raises:
            CheckpointError: if the tensor is missing, damaged, or not float32.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise CheckpointError(f"{name} is missing")
        if entry.dtype != _FLOAT32:
            raise CheckpointError(f"{name} has type {entry.dtype}, not float32")
        if entry.size != math.prod(entry.shape) * np.dtype(np.float32).itemsize:
            raise CheckpointError(f"{name} has {entry.size:,} bytes, which do not match its shape")
        stored = self._data[entry.offset : entry.offset + entry.size]
        if _masked(crc32c(stored.data)) != entry.checksum:
            raise CheckpointError(f"{name} is damaged: its checksum does not match")
        return np.frombuffer(stored, "<f4").reshape(entry.shape)


def read_index(table: bytes) -> dict[str, Entry]:
    """Return the entries of an index file with the content `table`, by name.

    Raises:
        CheckpointError: if it is not an index, is damaged, or describes tensors in several pieces
            or files.
    """
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise CheckpointError("the index is not a TensorFlow table")
    body = table[:-_FOOTER_BYTES]
    reader = _Reader(footer)
    _block_handle(reader)  # of the metaindex block, which TensorFlow leaves empty
    entries: dict[str, Entry] = {}
    last_key = None
    for number, (_, handle) in enumerate(_block(body, *_block_handle(reader))):
        if number + len(entries) > _MAX_ENTRIES:  # the same block could be listed repeatedly
            raise CheckpointError(f"the index has more than {_MAX_ENTRIES:,} entries")
        for key, value in _block(body, *_block_handle(_Reader(handle))):
            if last_key is not None and key <= last_key:
                raise CheckpointError("the names in the index are not in order")
            last_key = key
            if key:
                entries[_text(key)] = _entry(value)
            else:
                _validate_header(value)
    if last_key is None:
        raise CheckpointError("the index is empty")
    return entries


class _Reader:
    """Reads values from the front of `data`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        return len(self._data) - self._position

    def read(self, count: int) -> bytes:
        if count > self.remaining:
            raise CheckpointError("the index ends in the middle of a value")
        value = self._data[self._position : self._position + count]
        self._position += count
        return value

    def varint(self) -> int:
        """Read an unsigned integer of up to 64 bits: 7 bits per byte, the lowest first."""
        value = 0
        for number in range(_MAX_VARINT_BYTES):
            (byte,) = self.read(1)
            value |= (byte & 0x7F) << 7 * number
            if byte < 0x80:  # noqa: PLR2004 - the bit that is set in all bytes but the last
                if value >= 2**64:
                    break
                return value
        raise CheckpointError("the index has a number longer than 64 bits")


def _block_handle(reader: _Reader) -> tuple[int, int]:
    return reader.varint(), reader.varint()


def _block(body: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    end = offset + size
    if end + _TRAILER_BYTES > len(body):
        raise CheckpointError("an index block extends past the end of the index")
    (compression,) = body[end : end + 1]
    (checksum,) = struct.unpack("<I", body[end + 1 : end + _TRAILER_BYTES])
    if _masked(crc32c(body[offset : end + 1])) != checksum:
        raise CheckpointError("the index is damaged: a checksum does not match")
    if compression != _UNCOMPRESSED:
        raise CheckpointError("the index is compressed, unlike Spleeter's")
    reader = _Reader(_without_restarts(body[offset:end]))
    key = b""
    while reader.remaining:
        shared, rest, length = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise CheckpointError(
                "a name in the index shares a prefix longer than the previous name"
            )
        if shared + rest > _MAX_NAME_BYTES:  # prefixes could expand without limit
            raise CheckpointError(f"a name in the index is longer than {_MAX_NAME_BYTES} bytes")
        key = key[:shared] + reader.read(rest)
        yield key, reader.read(length)


def _without_restarts(block: bytes) -> bytes:
    number = struct.Struct("<I")
    count = number.unpack(block[-number.size :])[0] if len(block) >= number.size else 0
    rest = len(block) - number.size * (count + 1)
    if rest < 0:
        raise CheckpointError("a block of the index has an invalid restart array")
    return block[:rest]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the numbers and values of the fields of a protocol buffer message."""
    reader = _Reader(message)
    while reader.remaining:
        number, wire_type = divmod(reader.varint(), 8)
        match wire_type:
            case 0:  # varint
                yield number, reader.varint()
            case 1:  # 64 bits
                yield number, int.from_bytes(reader.read(8), "little")
            case 2:  # bytes, or a message
                yield number, reader.read(reader.varint())
            case 5:  # 32 bits
                yield number, int.from_bytes(reader.read(4), "little")
            case _:
                raise CheckpointError("the index has a field of unknown type")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise CheckpointError("the index has bytes where a number is expected")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise CheckpointError("the index has a number where a message is expected")
    return value


def _validate_header(header: bytes) -> None:
    """Refuse a `BundleHeaderProto` with several data files or the other byte order."""
    shards, big_endian = 1, False
    for number, value in _fields(header):
        if number == 1:  # `num_shards`
            shards = _integer(value)
        elif number == 2:  # noqa: PLR2004 - `endianness`
            big_endian = bool(_integer(value))
    if shards != 1:
        raise CheckpointError(f"the data is in {shards} files instead of one")
    if big_endian:
        raise CheckpointError("the data is big-endian")


def _entry(message: bytes) -> Entry:
    dtype = offset = size = checksum = 0
    shape: tuple[int, ...] = ()
    for number, value in _fields(message):
        match number:
            case 1:
                dtype = _integer(value)
            case 2:
                shape = _shape(_message(value))
            case 3 if _integer(value):  # `shard_id`
                raise CheckpointError("a tensor is in a data file that does not exist")
            case 4:
                offset = _integer(value)
            case 5:
                size = _integer(value)
            case 6:
                checksum = _integer(value)
            case 7:  # `slices`
                raise CheckpointError("a tensor is stored in several pieces")
            case _:
                pass  # from a later version of TensorFlow
    return Entry(dtype=dtype, shape=shape, offset=offset, size=size, checksum=checksum)


def _shape(message: bytes) -> tuple[int, ...]:
    axes: list[int] = []
    for number, value in _fields(message):
        if number == 2:  # noqa: PLR2004 - `dim`
            size = 0
            for inner, axis in _fields(_message(value)):
                if inner == 1:
                    size = _integer(axis)
            axes.append(size)
    if len(axes) > _MAX_AXES or math.prod(max(axis, 1) for axis in axes) >= _MAX_VALUES:
        raise CheckpointError("a tensor is larger than any model needs")
    return tuple(axes)


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("a name in the index is not UTF-8") from error


def _masked(checksum: int) -> int:
    rotated = checksum >> 15 | checksum << 17 & 0xFFFFFFFF
    return (rotated + _MASK_DELTA) & 0xFFFFFFFF
