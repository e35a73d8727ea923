"""Finding the samples in files of chunks, even if their headers are wrong."""

from __future__ import annotations

import struct
import wave
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemsplit.audio.containers.find_parts import find_parts
from stemsplit.audio.containers.parts import ByteRange, Part, PartFile
from stemsplit.audio.decode import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 44_100
NAMES = (b"LIST", b"bext", b"JUNK", b"cue ", b"id3 ", b"iXML", b"abcd", b"Zz 9", b"fact")


@dataclass(frozen=True)
class Riff:
    """A RIFF file and its samples."""

    data: bytes
    samples: NDArray[np.int16]
    is_valid: bool


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """Return a chunk, which may declare a wrong size."""
    declared = len(body) if size is None else size
    return name + struct.pack("<I", declared) + body + bytes(len(body) % 2)


@st.composite
def riffs(draw: st.DrawFn) -> Riff:
    """Draw chunks before and after the samples, and a correct or wrong size of the samples."""
    others = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=99)), max_size=4)
    channels = draw(st.sampled_from([1, 2]))
    frames = draw(st.integers(2_500, 6_000))
    seed = draw(st.integers(0, 2**16))
    samples = np.random.default_rng(seed).integers(-9_000, 9_000, (frames, channels), np.int16)
    body = samples.tobytes()
    fmt = struct.pack("<HHIIHH", 1, channels, RATE, RATE * 2 * channels, 2 * channels, 16)
    error = draw(st.sampled_from(["none", "zero", "small", "large", "unknown"]))
    size = {
        "none": len(body),
        "zero": 0,
        "small": draw(st.integers(1, len(body) - 4_500 * channels)),
        "large": len(body) + draw(st.integers(3_000, 10**9)),
        "unknown": 0xFFFFFFFF,
    }[error]
    before = [chunk(name, text) for name, text in draw(others)]
    before.insert(draw(st.integers(0, len(before))), chunk(b"fmt ", fmt))
    after = b"".join(chunk(name, text) for name, text in draw(others))
    chunks = b"".join([*before, chunk(b"data", body, size), after])
    riff = draw(st.sampled_from([0, 36, 4 + len(chunks), 0xFFFFFFFF]))
    data = b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunks
    return Riff(data=data, samples=samples, is_valid=error == "none" and riff == 4 + len(chunks))


@given(riff=riffs())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_exactly_the_samples_of_a_riff_file_are_read(tmp_path: Path, riff: Riff) -> None:
    """Sizes in headers do not matter; Python's `wave` reads the same samples of a valid file."""
    path = tmp_path / "a.wav"
    path.write_bytes(riff.data)
    with Decoder(path) as source:
        read = np.concatenate(list(source.blocks()))
    np.testing.assert_array_equal(np.rint(read * 2**15).astype(np.int16), riff.samples)
    if riff.is_valid:
        with wave.open(str(path)) as reference:
            assert reference.readframes(10**6) == riff.samples.tobytes()


@pytest.mark.parametrize("gibibytes", [3, 5])
def test_all_samples_of_a_file_above_4_gib_are_found(tmp_path: Path, gibibytes: int) -> None:
    """The declared size has overflowed; the last second of a sparse file is checked."""
    path = tmp_path / "long.wav"
    tone = np.full((RATE, 2), 9_000, np.int16)
    size = gibibytes << 30
    fmt = struct.pack("<HHIIHH", 1, 2, RATE, RATE * 4, 4, 16)
    head = b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVE" + chunk(b"fmt ", fmt)
    head += b"data" + struct.pack("<I", size % 2**32)
    with path.open("wb") as file:
        file.write(head)
        if size > 2**32:  # music, not silence, where the file seems to end
            file.seek(len(head) + size - 2**32)
            file.write(tone.tobytes())
        file.seek(len(head) + size - tone.nbytes)
        file.write(tone.tobytes())
    (part,) = find_parts(path)
    with soundfile.SoundFile(part.open(path)) as file:
        assert file.frames == size // 4
        file.seek(file.frames - RATE)
        np.testing.assert_array_equal(file.read(dtype="int16"), tone)


@given(
    cuts=st.lists(st.integers(0, 5_000), min_size=2, max_size=8),
    reads=st.lists(st.tuples(st.integers(0, 6_000), st.integers(0, 700)), max_size=20),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_part_reads_like_a_file(
    tmp_path: Path, cuts: list[int], reads: list[tuple[int, int]]
) -> None:
    """It may have any pieces and be read in any order."""
    whole = np.random.default_rng(0).bytes(5_000)
    path = tmp_path / "whole"
    path.write_bytes(whole)
    ranges = [ByteRange(min(pair), max(pair)) for pair in pairwise(cuts)]
    pieces: tuple[ByteRange | bytes, ...] = (b"head", *ranges, b"", b"tail")
    expected = b"head" + b"".join(whole[piece.start : piece.end] for piece in ranges) + b"tail"
    with PartFile(path, pieces) as file:
        for at, count in reads:
            assert file.seek(at) == at
            assert file.read(count) == expected[at : at + count]
        file.seek(0)
        assert file.read() == expected


def test_an_intact_file_is_a_single_part(tmp_path: Path) -> None:
    """It can then be opened by its path, which is fastest."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2))
    for ext in ("wav", "aiff", "w64", "caf", "au", "flac", "mp3", "ogg"):
        path = tmp_path / f"a.{ext}"
        soundfile.write(path, noise, RATE)
        (part,) = find_parts(path)
        assert part.pieces is None
        assert part.can_use_libsndfile
        assert not part.is_cut_off
    assert Part().pieces is None
