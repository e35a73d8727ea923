"""TensorFlow's checkpoint files, read without TensorFlow: whole, damaged and hostile ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from checkpoints import entry, field, header, masked, table, varint, write_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.child.engines.weights.checkpoint import (
    LARGEST_INDEX_BYTES,
    Checkpoint,
    CheckpointError,
    read_index,
)

if TYPE_CHECKING:
    from pathlib import Path

STORED = np.arange(6, dtype="<f4").tobytes()
ONE = [(b"", header()), (b"layer/kernel", entry((2, 3), 0, STORED))]
GOOD = table([*ONE, (b"layer_1/bias", entry((6,), 24, STORED))])


def _written(folder: Path, index: bytes, data: bytes = STORED) -> Path:
    (folder / "model.index").write_bytes(index)
    (folder / "model.data-00000-of-00001").write_bytes(data)
    return folder / "model"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every tensor, whatever its shape, without a copy and not to be written to."""
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
    ("index", "words"),
    [
        (b"", "no table"),
        (b"\0" * 48, "no table"),
        (GOOD[:-1], "no table"),
        (GOOD[48:], "lies beyond the end"),
        (table([], blocks=1), "is empty"),
        (table([*reversed(ONE)]), "not in order"),
        (table([ONE[0], ONE[1], ONE[1]]), "not in order"),
        (table(ONE, compression=1), "is compressed"),
        (table([(b"", header(shards=2)), ONE[1]]), "in 2 files"),
        (table([(b"", header(big_endian=True)), ONE[1]]), "byte order"),
        (table([ONE[0], (b"x", entry((6,), 0, STORED, extra=field(7, b"")))]), "several pieces"),
        (table([ONE[0], (b"x", entry((6,), 0, STORED, extra=field(3, 1)))]), "file that there is"),
        (table([ONE[0], (b"x", entry((2**40, 2**40), 0, STORED))]), "size that no model has"),
        (table([ONE[0], (b"x", entry((1,) * 9, 0, STORED))]), "size that no model has"),
        (table([ONE[0], (b"x" * 1025, ONE[1][1])]), "longer than 1024"),
        (table([ONE[0], (b"\xff", ONE[1][1])]), "is no text"),
        (table([ONE[0], (b"x", b"\x0b")]), "of a kind that there is not"),
        (table([ONE[0], (b"x", field(4, b"far"))]), "text in the place of a number"),
        (table([ONE[0], (b"x", field(2, 3))]), "number in the place of a message"),
        (table([ONE[0], (b"x", varint(4 << 3) + b"\xff" * 12)]), "more than 64 bits"),
        (table([ONE[0], (b"x", varint(2 << 3 | 2) + varint(2**40))]), "in the midst of a value"),
    ],
    ids=str,
)
def test_a_hostile_index_is_refused(tmp_path: Path, index: bytes, words: str) -> None:
    """In the words of what is wrong with it, and with little memory and time."""
    with pytest.raises(CheckpointError, match=words):
        Checkpoint(_written(tmp_path, index))


def test_keys_that_share_what_is_not_there_are_refused() -> None:
    """By a block whose checksum is right."""
    body = varint(3) + varint(0) + varint(0) + struct.pack("<II", 0, 1) + b"\0"
    data = body + struct.pack("<I", masked(body))
    place = varint(0) + varint(len(body) - 1)
    inner = varint(0) + varint(1) + varint(len(place)) + b"z" + place
    inner += struct.pack("<II", 0, 1) + b"\0"
    index = data + inner + struct.pack("<I", masked(inner))
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(inner) - 1)
    index += footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(CheckpointError, match="shares more than there is"):
        read_index(index)


@given(at=st.integers(0, len(GOOD) - 1), value=st.integers(1, 255))
def test_no_byte_of_an_index_can_be_changed_unseen(at: int, value: int) -> None:
    """It is refused, or what was changed tells nothing: the place of the filters, or padding."""
    changed = bytearray(GOOD)
    changed[at] ^= value
    try:
        entries = read_index(bytes(changed))
    except CheckpointError:
        return
    assert entries == read_index(GOOD)


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_refused(noise: bytes, ends_well: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Whatever it is, also with the right end."""
    end = struct.pack("<Q", 0xDB4775248B80FB57) if ends_well else b""
    with pytest.raises(CheckpointError):
        read_index(noise + end)


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=40)), max_size=4))
def test_messages_of_noise_are_refused_or_harmless(entries: list[tuple[bytes, bytes]]) -> None:
    """Blocks whose checksums are right and whose entries are anything."""
    try:
        found = read_index(table(sorted(entries)))
    except CheckpointError:
        return
    assert all(entry.size >= 0 and entry.offset >= 0 for entry in found.values())


def test_tensors_beyond_the_end_are_refused(tmp_path: Path) -> None:
    """When the file is opened, before anything is read."""
    with pytest.raises(CheckpointError, match=r"layer_1/bias lies beyond the end"):
        Checkpoint(_written(tmp_path, GOOD))


def test_damaged_data_are_refused(tmp_path: Path) -> None:
    """One bit is enough; the other tensors are as they were."""
    data = bytearray(STORED + STORED)
    data[25] ^= 1
    checkpoint = Checkpoint(_written(tmp_path, GOOD, bytes(data)))
    assert checkpoint.tensor("layer/kernel").shape == (2, 3)
    with pytest.raises(CheckpointError, match="layer_1/bias is damaged"):
        checkpoint.tensor("layer_1/bias")


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (entry((6,), 0, STORED, dtype=3), "not float32"),
        (entry((7,), 0, STORED), "its shape has not"),
        (entry((2, 2), 0, STORED), "its shape has not"),
    ],
)
def test_tensors_of_another_kind_are_refused(tmp_path: Path, stored: bytes, words: str) -> None:
    """Integers, and what is longer or shorter than its shape."""
    checkpoint = Checkpoint(_written(tmp_path, table([ONE[0], (b"x", stored)])))
    with pytest.raises(CheckpointError, match=words):
        checkpoint.tensor("x")
    with pytest.raises(CheckpointError, match="no tensor named y"):
        checkpoint.tensor("y")


def test_a_large_index_is_not_even_read(tmp_path: Path) -> None:
    """It could make this process large."""
    index = _written(tmp_path, b"").with_name("model.index")
    with index.open("wb") as file:
        file.truncate(LARGEST_INDEX_BYTES + 1)
    with pytest.raises(CheckpointError, match="more than 1,048,576 bytes"):
        Checkpoint(tmp_path / "model")
