"""Runs in the child. Reads TensorFlow's checkpoint files without TensorFlow.

A checkpoint of one shard is two files (`tensorflow/core/util/tensor_bundle/tensor_bundle.h`):

- `NAME.data-00000-of-00001` holds the bytes of all tensors, little-endian and in row-major order;
- `NAME.index` is a sorted table from names to `BundleEntryProto` messages
  (`tensorflow/core/protobuf/tensor_bundle.proto`), which say where in the data file a tensor is.
  The empty name, which comes first, has a `BundleHeaderProto`.

The table has LevelDB's format (`tensorflow/core/lib/io/format.h`, and `doc/table_format.md` of
google/leveldb). It ends with a footer of 48 bytes: the places of two blocks, of which the second is
the index of blocks, zeros, and a magic number. A place is two varints, offset and size. Each block
is followed by a byte that tells its compression and by a checksum. In a block, each entry is three
varints (how much of its key it shares with the one before, how long the rest of the key is, how
long its value) and the rest of the key and the value; the block ends with the 32-bit offsets of
the entries that share nothing, and the number of these.

Checksums are CRC-32C, masked (`tensorflow/core/lib/hash/crc32c.h`): rotated and added to, because
a checksum of data that hold their own checksum would be weak.

Everything is checked before it is used: files come from the network.
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

LARGEST_INDEX_BYTES = 2**20
"""The index of Spleeter's largest model has 13 KB."""

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5
_UNCOMPRESSED = 0
_VARINT_BYTES = 10
_MASK_DELTA = 0xA282EAD8
_MOST_AXES = 8
_MOST_VALUES = 2**48
_MOST_ENTRIES = 10_000
"""Spleeter's largest model has 450."""
_LONGEST_NAME = 1024

_FLOAT32 = 1
"""`DT_FLOAT` of `tensorflow/core/framework/types.proto`."""


class CheckpointError(ValueError):
    """The files are no checkpoint, or a damaged one, or of a kind that is not read here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the index says of a tensor (`BundleEntryProto`).

    Attributes:
        dtype: its `DataType` number; 1 is float32.
        shape: of the tensor.
        offset, size: of its bytes in the data file.
        checksum: of them, masked.
    """

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int


class Checkpoint:
    """A checkpoint that has been opened.

    Args:
        prefix: the path of its files without `.index` and `.data-00000-of-00001`.

    Raises:
        CheckpointError: if the index cannot be trusted.
        OSError: if a file cannot be read.
    """

    def __init__(self, prefix: Path) -> None:
        """Read the index and map the data."""
        index = prefix.with_name(f"{prefix.name}.index")
        if index.stat().st_size > LARGEST_INDEX_BYTES:
            raise CheckpointError(f"its index has more than {LARGEST_INDEX_BYTES:,} bytes")
        self.entries: Mapping[str, Entry] = read_index(index.read_bytes())
        data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
        size = data.stat().st_size
        for name, entry in self.entries.items():
            if entry.offset + entry.size > size:
                raise CheckpointError(f"{name} lies beyond the end of the data")
        # An empty file cannot be mapped.
        self._data: NDArray[np.uint8] = (
            np.memmap(data, np.uint8, "r") if size else np.zeros(0, np.uint8)
        )

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Give a tensor, float32 and read-only, without a copy; its checksum is verified.

        Raises:
            CheckpointError: if there is none of that name, or it is no float32, or damaged.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise CheckpointError(f"it has no tensor named {name}")
        if entry.dtype != _FLOAT32:
            raise CheckpointError(f"{name} has the type {entry.dtype}, which is not float32")
        if entry.size != math.prod(entry.shape) * np.dtype(np.float32).itemsize:
            raise CheckpointError(f"{name} has {entry.size:,} bytes, which its shape has not")
        stored = self._data[entry.offset : entry.offset + entry.size]
        if _masked(crc32c(stored.data)) != entry.checksum:
            raise CheckpointError(f"{name} is damaged: its checksum differs")
        return np.frombuffer(stored, "<f4").reshape(entry.shape)


def read_index(table: bytes) -> dict[str, Entry]:
    """Read an index file.

    Args:
        table: all of it.

    Raises:
        CheckpointError: if it is none, is damaged, or has tensors in several pieces or files.
    """
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise CheckpointError("its index is no table of TensorFlow's")
    body = table[:-_FOOTER_BYTES]
    reader = _Reader(footer)
    _place(reader)  # of the block of filters, which TensorFlow leaves empty
    entries: dict[str, Entry] = {}
    last = None
    for number, (_, place) in enumerate(_block(body, *_place(reader))):
        if number + len(entries) > _MOST_ENTRIES:  # one block could be named again and again
            raise CheckpointError(f"its index has more than {_MOST_ENTRIES:,} entries")
        for key, value in _block(body, *_place(_Reader(place))):
            if last is not None and key <= last:
                raise CheckpointError("the names of its index are not in order")
            last = key
            if key:
                entries[_text(key)] = _entry(value)
            else:
                _require_one_shard(value)
    if last is None:
        raise CheckpointError("its index is empty")
    return entries


class _Reader:
    """Takes values from the front of some bytes."""

    def __init__(self, stored: bytes) -> None:
        self._stored = stored
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._stored) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise CheckpointError("its index ends in the midst of a value")
        taken = self._stored[self._at : self._at + count]
        self._at += count
        return taken

    def varint(self) -> int:
        """Take an unsigned integer of up to 64 bits, 7 bits a byte, the lowest first."""
        value = 0
        for number in range(_VARINT_BYTES):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << 7 * number
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follow
                if value >= 2**64:
                    break
                return value
        raise CheckpointError("its index has a number of more than 64 bits")


def _place(reader: _Reader) -> tuple[int, int]:
    return reader.varint(), reader.varint()


def _block(body: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Give the keys and values of a block."""
    end = offset + size
    if end + _TRAILER_BYTES > len(body):
        raise CheckpointError("a block of its index lies beyond the end")
    (compression,) = body[end : end + 1]
    (checksum,) = struct.unpack("<I", body[end + 1 : end + _TRAILER_BYTES])
    if _masked(crc32c(body[offset : end + 1])) != checksum:
        raise CheckpointError("its index is damaged: a checksum differs")
    if compression != _UNCOMPRESSED:
        raise CheckpointError("its index is compressed, as Spleeter's are not")
    reader = _Reader(_without_restarts(body[offset:end]))
    key = b""
    while reader.left:
        shared, rest, length = reader.varint(), reader.varint(), reader.varint()
        if shared > len(key):
            raise CheckpointError("a name in its index shares more than there is")
        if shared + rest > _LONGEST_NAME:  # small files could make large ones of them
            raise CheckpointError(f"a name in its index is longer than {_LONGEST_NAME}")
        key = key[:shared] + reader.take(rest)
        yield key, reader.take(length)


def _without_restarts(block: bytes) -> bytes:
    number = struct.Struct("<I")
    count = number.unpack(block[-number.size :])[0] if len(block) >= number.size else 0
    rest = len(block) - number.size * (count + 1)
    if rest < 0:
        raise CheckpointError("a block of its index has no end")
    return block[:rest]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give the numbers and values of the fields of a protocol buffer message."""
    reader = _Reader(message)
    while reader.left:
        number, kind = divmod(reader.varint(), 8)
        match kind:
            case 0:  # a varint
                yield number, reader.varint()
            case 1:
                yield number, int.from_bytes(reader.take(8), "little")
            case 2:  # bytes, or a message
                yield number, reader.take(reader.varint())
            case 5:
                yield number, int.from_bytes(reader.take(4), "little")
            case _:
                raise CheckpointError("its index has a field of a kind that there is not")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise CheckpointError("its index has text in the place of a number")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise CheckpointError("its index has a number in the place of a message")
    return value


def _require_one_shard(header: bytes) -> None:
    """Refuse what `BundleHeaderProto` tells of data in several files or another byte order."""
    shards, big_endian = 1, False
    for number, value in _fields(header):
        if number == 1:
            shards = _integer(value)
        elif number == 2:  # noqa: PLR2004 - `endianness`
            big_endian = bool(_integer(value))
    if shards != 1:
        raise CheckpointError(f"its data are in {shards} files instead of one")
    if big_endian:
        raise CheckpointError("its data have the byte order of another kind of machine")


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
                raise CheckpointError("it has a tensor in a file that there is not")
            case 4:
                offset = _integer(value)
            case 5:
                size = _integer(value)
            case 6:
                checksum = _integer(value)
            case 7:  # `slices`
                raise CheckpointError("it has a tensor in several pieces")
            case _:
                pass  # added by a later version of TensorFlow
    return Entry(dtype=dtype, shape=shape, offset=offset, size=size, checksum=checksum)


def _shape(message: bytes) -> tuple[int, ...]:
    """Read a `TensorShapeProto`."""
    axes: list[int] = []
    for number, value in _fields(message):
        if number == 2:  # noqa: PLR2004 - `dim`
            size = 0
            for inner, axis in _fields(_message(value)):
                if inner == 1:
                    size = _integer(axis)
            axes.append(size)
    if len(axes) > _MOST_AXES or math.prod(max(axis, 1) for axis in axes) >= _MOST_VALUES:
        raise CheckpointError("it has a tensor of a size that no model has")
    return tuple(axes)


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("a name in its index is no text") from error


def _masked(checksum: int) -> int:
    rotated = checksum >> 15 | checksum << 17 & 0xFFFFFFFF
    return (rotated + _MASK_DELTA) & 0xFFFFFFFF
