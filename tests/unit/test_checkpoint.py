"""Reading valid, damaged and hostile TensorFlow checkpoints without TensorFlow."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from checkpoints import entry, field, header, masked, table, varint, write_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.child.engines.weights.checkpoint import (
    MAX_INDEX_BYTES,
    Checkpoint,
    CheckpointError,
    read_index,
)

if TYPE_CHECKING:
    from pathlib import Path

STORED = np.arange(6, dtype="<f4").tobytes()
ENTRIES = [(b"", header()), (b"layer/kernel", entry((2, 3), 0, STORED))]
VALID_INDEX = table([*ENTRIES, (b"layer_1/bias", entry((6,), 24, STORED))])


def _written(folder: Path, index: bytes, data: bytes = STORED) -> Path:
    (folder / "model.index").write_bytes(index)
    (folder / "model.data-00000-of-00001").write_bytes(data)
    return folder / "model"


def test_written_tensors_are_read_back(tmp_path: Path) -> None:
    """Tensors of any shape are read as read-only views."""
    random = np.random.default_rng(0)
    shapes = {"a": (), "b/c": (3,), "b/d_1": (5, 5, 2, 16), "empty": (0, 4), "é": (2, 2)}
    tensors = {name: random.random(shape).astype(np.float32) for name, shape in shapes.items()}
    write_checkpoint(tmp_path / "model", tensors)
    checkpoint = Checkpoint(tmp_path / "model")
    assert {*checkpoint.entries} == {*tensors, "global_step"}
    for name, expected in tensors.items():
        found = checkpoint.tensor(name)
        assert found.dtype == np.float32
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"", "not a TensorFlow table"),
        (b"\0" * 48, "not a TensorFlow table"),
        (VALID_INDEX[:-1], "not a TensorFlow table"),
        (VALID_INDEX[48:], "extends past the end of the index"),
        (table([], blocks=1), "is empty"),
        (table([*reversed(ENTRIES)]), "not in order"),
        (table([ENTRIES[0], ENTRIES[1], ENTRIES[1]]), "not in order"),
        (table(ENTRIES, compression=1), "is compressed"),
        (table([(b"", header(shards=2)), ENTRIES[1]]), "in 2 files"),
        (table([(b"", header(big_endian=True)), ENTRIES[1]]), "big-endian"),
        (
            table([ENTRIES[0], (b"x", entry((6,), 0, STORED, extra=field(7, b"")))]),
            "several pieces",
        ),
        (
            table([ENTRIES[0], (b"x", entry((6,), 0, STORED, extra=field(3, 1)))]),
            "file that does not exist",
        ),
        (
            table([ENTRIES[0], (b"x", entry((2**40, 2**40), 0, STORED))]),
            "larger than any model needs",
        ),
        (table([ENTRIES[0], (b"x", entry((1,) * 9, 0, STORED))]), "larger than any model needs"),
        (table([ENTRIES[0], (b"x" * 1025, ENTRIES[1][1])]), "longer than 1024"),
        (table([ENTRIES[0], (b"\xff", ENTRIES[1][1])]), "is not UTF-8"),
        (table([ENTRIES[0], (b"x", b"\x0b")]), "of unknown type"),
        (table([ENTRIES[0], (b"x", field(4, b"far"))]), "bytes where a number is expected"),
        (table([ENTRIES[0], (b"x", field(2, 3))]), "number where a message is expected"),
        (table([ENTRIES[0], (b"x", varint(4 << 3) + b"\xff" * 12)]), "longer than 64 bits"),
        (
            table([ENTRIES[0], (b"x", varint(2 << 3 | 2) + varint(2**40))]),
            "in the middle of a value",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "index",
)
def test_a_hostile_index_is_refused(tmp_path: Path, index: bytes, message: str) -> None:
    """The error names the fault."""
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(_written(tmp_path, index))


def test_a_key_that_shares_more_than_the_previous_key_has_is_refused() -> None:
    """The checksum of its block is correct."""
    body = varint(3) + varint(0) + varint(0) + struct.pack("<II", 0, 1) + b"\0"
    data = body + struct.pack("<I", masked(body))
    handle = varint(0) + varint(len(body) - 1)
    inner = varint(0) + varint(1) + varint(len(handle)) + b"z" + handle
    inner += struct.pack("<II", 0, 1) + b"\0"
    index = data + inner + struct.pack("<I", masked(inner))
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(inner) - 1)
    index += footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(CheckpointError, match="shares a prefix longer than the previous name"):
        read_index(index)


@given(at=st.integers(0, len(VALID_INDEX) - 1), value=st.integers(1, 255))
def test_a_changed_byte_of_an_index_is_detected_or_harmless(at: int, value: int) -> None:
    """Only the handle of the filters and padding may change without an error."""
    changed = bytearray(VALID_INDEX)
    changed[at] ^= value
    try:
        entries = read_index(bytes(changed))
    except CheckpointError:
        return
    assert entries == read_index(VALID_INDEX)


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_refused(noise: bytes, has_magic_number: bool) -> None:  # noqa: FBT001 - hypothesis passes it
    """A correct magic number at the end changes nothing."""
    end = struct.pack("<Q", 0xDB4775248B80FB57) if has_magic_number else b""
    with pytest.raises(CheckpointError):
        read_index(noise + end)


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=40)), max_size=4))
def test_noisy_entries_are_refused_or_harmless(entries: list[tuple[bytes, bytes]]) -> None:
    """The checksums of the blocks are correct."""
    try:
        found = read_index(table(sorted(entries)))
    except CheckpointError:
        return
    assert all(entry.size >= 0 and entry.offset >= 0 for entry in found.values())


def test_tensors_beyond_the_end_are_refused(tmp_path: Path) -> None:
    """They are refused when the file is opened, before any tensor is read."""
    with pytest.raises(CheckpointError, match=r"layer_1/bias extends beyond the end"):
        Checkpoint(_written(tmp_path, VALID_INDEX))


def test_damaged_data_is_refused(tmp_path: Path) -> None:
    """One changed bit makes its tensor unreadable, and only that one."""
    data = bytearray(STORED + STORED)
    data[25] ^= 1
    checkpoint = Checkpoint(_written(tmp_path, VALID_INDEX, bytes(data)))
    assert checkpoint.tensor("layer/kernel").shape == (2, 3)
    with pytest.raises(CheckpointError, match="layer_1/bias is damaged"):
        checkpoint.tensor("layer_1/bias")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (entry((6,), 0, STORED, dtype=3), "not float32"),
        (entry((7,), 0, STORED), "do not match its shape"),
        (entry((2, 2), 0, STORED), "do not match its shape"),
    ],
)
def test_tensors_of_another_type_or_size_are_refused(
    tmp_path: Path, stored: bytes, message: str
) -> None:
    """They must be float32 and match their shape."""
    checkpoint = Checkpoint(_written(tmp_path, table([ENTRIES[0], (b"x", stored)])))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.tensor("x")
    with pytest.raises(CheckpointError, match="y is missing"):
        checkpoint.tensor("y")


def test_a_large_index_is_not_read(tmp_path: Path) -> None:
    """It could use up the memory of the process."""
    index = _written(tmp_path, b"").with_name("model.index")
    with index.open("wb") as file:
        file.truncate(MAX_INDEX_BYTES + 1)
    with pytest.raises(CheckpointError, match="more than 1,048,576 bytes"):
        Checkpoint(tmp_path / "model")
