"""Where samples end in files of chunks, whatever their headers declare."""

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

from stemsplit.audio.containers.find_parts import survey
from stemsplit.audio.containers.parts import Part, PartFile, Range
from stemsplit.audio.decode import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 44_100
NAMES = (b"LIST", b"bext", b"JUNK", b"cue ", b"id3 ", b"iXML", b"abcd", b"Zz 9", b"fact")


@dataclass(frozen=True)
class Riff:
    """A RIFF file with its chunks in some order, and its samples."""

    data: bytes
    samples: NDArray[np.int16]
    is_right: bool


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """Write a chunk, which may declare another size than it has."""
    declared = len(body) if size is None else size
    return name + struct.pack("<I", declared) + body + bytes(len(body) % 2)


@st.composite
def riffs(draw: st.DrawFn) -> Riff:
    """Draw chunks before and behind the samples, of odd sizes too, and a lie about their size."""
    others = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=99)), max_size=4)
    channels = draw(st.sampled_from([1, 2]))
    frames = draw(st.integers(2_500, 6_000))
    seed = draw(st.integers(0, 2**16))
    samples = np.random.default_rng(seed).integers(-9_000, 9_000, (frames, channels), np.int16)
    body = samples.tobytes()
    form = struct.pack("<HHIIHH", 1, channels, RATE, RATE * 2 * channels, 2 * channels, 16)
    lie = draw(st.sampled_from(["none", "zero", "small", "large", "unknown"]))
    size = {
        "none": len(body),
        "zero": 0,
        "small": draw(st.integers(1, len(body) - 4_500 * channels)),
        "large": len(body) + draw(st.integers(3_000, 10**9)),
        "unknown": 0xFFFFFFFF,
    }[lie]
    front = [chunk(name, text) for name, text in draw(others)]
    front.insert(draw(st.integers(0, len(front))), chunk(b"fmt ", form))
    behind = b"".join(chunk(name, text) for name, text in draw(others))
    chunks = b"".join([*front, chunk(b"data", body, size), behind])
    riff = draw(st.sampled_from([0, 36, 4 + len(chunks), 0xFFFFFFFF]))
    data = b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunks
    return Riff(data=data, samples=samples, is_right=lie == "none" and riff == 4 + len(chunks))


@given(riff=riffs())
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_samples_are_found_whatever_a_riff_file_declares(tmp_path: Path, riff: Riff) -> None:
    """All of them and nothing else; as Python's own reader has them where the file is right."""
    path = tmp_path / "a.wav"
    path.write_bytes(riff.data)
    with Decoder(path) as source:
        read = np.concatenate(list(source.blocks()))
    np.testing.assert_array_equal(np.rint(read * 2**15).astype(np.int16), riff.samples)
    if riff.is_right:
        with wave.open(str(path)) as reference:
            assert reference.readframes(10**6) == riff.samples.tobytes()


@pytest.mark.parametrize("gibibytes", [3, 5])
def test_a_file_beyond_4_gib_is_found_to_its_end(tmp_path: Path, gibibytes: int) -> None:
    """Its size has wrapped; in a sparse file, whose last second is what is looked at."""
    path = tmp_path / "long.wav"
    tone = np.full((RATE, 2), 9_000, np.int16)
    size = gibibytes << 30
    form = struct.pack("<HHIIHH", 1, 2, RATE, RATE * 4, 4, 16)
    head = b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVE" + chunk(b"fmt ", form)
    head += b"data" + struct.pack("<I", size % 2**32)
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + size - tone.nbytes)
        file.write(tone.tobytes())
    (part,) = survey(path)
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
    """Whatever its pieces are, and in whatever order it is read."""
    whole = np.random.default_rng(0).bytes(5_000)
    path = tmp_path / "whole"
    path.write_bytes(whole)
    ranges = [Range(min(pair), max(pair)) for pair in pairwise(cuts)]
    pieces: tuple[Range | bytes, ...] = (b"head", *ranges, b"", b"tail")
    expected = b"head" + b"".join(whole[one.first : one.end] for one in ranges) + b"tail"
    with PartFile(path, pieces) as file:
        for at, count in reads:
            assert file.seek(at) == at
            assert file.read(count) == expected[at : at + count]
        file.seek(0)
        assert file.read() == expected


def test_a_healthy_file_is_its_only_part(tmp_path: Path) -> None:
    """So that libsndfile reads it by its name, as fast as ever."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2))
    for ext in ("wav", "aiff", "w64", "caf", "au", "flac", "mp3", "ogg"):
        path = tmp_path / f"a.{ext}"
        soundfile.write(path, noise, RATE)
        (part,) = survey(path)
        assert part.pieces is None
        assert part.is_for_libsndfile
        assert not part.is_cut_off
    assert Part().pieces is None
