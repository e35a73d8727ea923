"""Reading audio files, whole and broken."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemsplit.audio.containers.find_parts import survey
from stemsplit.audio.decode import Decoder
from stemsplit.audio.sample_blocks import BLOCK_FRAMES
from stemsplit.core.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES = 5 * 44_100


@pytest.fixture
def noise() -> NDArray[np.float32]:
    """Five seconds that no codec can guess."""
    return np.random.default_rng(0).uniform(-0.5, 0.5, (FRAMES, 2)).astype(np.float32)


def _read(path: Path) -> tuple[NDArray[np.float32], str]:
    with Decoder(path) as source:
        blocks = list(source.blocks())
        assert all(len(block) <= BLOCK_FRAMES for block in blocks)
        loss = source.loss()
        return np.concatenate(blocks), "" if loss is None else loss.text


def _cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    cut = path.with_name(f"cut{path.suffix}")
    cut.write_bytes(data[: int(len(data) * share)])
    return cut


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "w64", "au", "caf"])
def test_reads_lossless_files_to_the_bit(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    """Block by block gives what libsndfile gives for the whole, and nothing is missing."""
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, 44_100)
    whole, _ = soundfile.read(path, dtype="float32")
    read, missing = _read(path)
    np.testing.assert_array_equal(read, whole)
    assert missing == ""


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_whole_lossy_files_are_not_called_cut_off(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    """An intact Ogg or MP3 has all of its frames and no warning."""
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, 44_100)
    read, missing = _read(path)
    assert len(read) == FRAMES
    assert missing == ""


@pytest.mark.parametrize("suffix", ["wav", "aiff", "w64", "au", "flac", "mp3"])
def test_says_how_much_of_a_cut_file_is_missing(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    """Cut at 60 %: about 3 of 5 seconds come out, unharmed, and the warning gives the rest."""
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, 44_100)
    whole, _ = soundfile.read(path, dtype="float32")
    read, warning = _read(_cut(path, 0.6))
    assert 0.55 * FRAMES < len(read) < 0.61 * FRAMES
    if suffix != "mp3":  # its decoder conceals the torn frame
        np.testing.assert_array_equal(read, whole[: len(read)])
    missing_seconds = 5 - len(read) / 44_100
    assert f"{missing_seconds:.2f} s of 5.00 s" in warning


def test_says_that_a_cut_ogg_has_no_end(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Ogg does not declare its length: the warning says so instead of a number."""
    path = tmp_path / "noise.ogg"
    soundfile.write(path, noise, 44_100)
    read, warning = _read(_cut(path, 0.6))
    assert 0 < len(read) < FRAMES
    assert "how much is missing is unknown" in warning


@pytest.mark.parametrize("lost", [1, 20, 5_000])
def test_an_ogg_page_must_be_whole_to_count_as_the_last(
    tmp_path: Path, noise: NDArray[np.float32], lost: int
) -> None:
    """Even one byte less at the end is noticed."""
    path = tmp_path / "noise.ogg"
    soundfile.write(path, noise, 44_100)
    assert not survey(path)[-1].is_cut_off
    path.write_bytes(path.read_bytes()[:-lost])
    assert survey(path)[-1].is_cut_off


def test_a_wav_written_to_a_pipe_is_not_called_cut_off(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """Programs that cannot go back to the header leave 0xFFFFFFFF there; that is no damage."""
    path = tmp_path / "piped.wav"
    soundfile.write(path, noise, 44_100)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    read, missing = _read(path)
    assert len(read) == FRAMES
    assert missing == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_named_with_its_place(
    tmp_path: Path, noise: NDArray[np.float32], value: float
) -> None:
    """NaN and infinity are refused, with the time at which they stand."""
    noise[100_000, 1] = value
    path = tmp_path / "nan.wav"
    soundfile.write(path, noise, 44_100, subtype="FLOAT")
    with pytest.raises(BadInputError, match=r"not a finite number at 2\.268 s"):
        _read(path)


def test_what_is_no_audio_gets_a_sentence_each(tmp_path: Path) -> None:
    """Missing, empty, text, a folder, a header alone: each says which."""
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("dear diary\n" * 100)
    soundfile.write(tmp_path / "header.wav", np.zeros((0, 2)), 44_100)
    expected = {
        "missing.wav": "does not exist",
        "empty.wav": "is empty",
        "text.wav": "is a text file, not audio",
        "header.wav": "no samples",
        ".": "not a file",
    }
    for name, words in expected.items():
        with pytest.raises(BadInputError, match=words) as caught:
            _read(tmp_path / name)
        assert caught.value.remedy


def test_a_header_whose_samples_are_gone_is_damaged(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """A FLAC cut off inside its first frame is an error, not an empty or invented stem."""
    path = tmp_path / "noise.flac"
    soundfile.write(path, noise, 44_100)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xf8") + 50])
    with pytest.raises(BadInputError, match="none of its samples can be decoded"):
        _read(path)


def _decoded(path: Path) -> int | None:
    """Count the frames that can be had; None where the file is refused in a sentence."""
    try:
        with Decoder(path) as source:
            frames = sum(map(len, source.blocks()))
            source.loss()
            return frames
    except BadInputError:
        return None


@given(
    riff=st.integers(0, 2**32 - 1),
    kind=st.sampled_from([1, 3, 6, 7, 17, 0xFFFE, 0x1234]),
    channels=st.integers(0, 2**16 - 1) | st.integers(0, 10),
    rate=st.integers(0, 2**32 - 1) | st.sampled_from([8_000, 44_100, 192_000]),
    bits=st.integers(0, 2**16 - 1) | st.sampled_from([8, 16, 24, 32, 64]),
    size=st.integers(0, 2**32 - 1) | st.integers(0, 5_000),
    body=st.binary(max_size=4_000),
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_wav_header_is_too_wild(
    tmp_path: Path, *, riff: int, kind: int, channels: int, rate: int, bits: int, size: int,
    body: bytes,
) -> None:  # fmt: skip
    """Whatever its numbers are: some frames, or a sentence; never more than the bytes hold."""
    block = channels * bits // 8 % 2**16
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff, b"WAVE", b"fmt ", 16, kind, channels,
                       rate, rate * block % 2**32, block, bits)  # fmt: skip
    path = tmp_path / "wild.wav"
    path.write_bytes(head + struct.pack("<4sI", b"data", size) + body)
    frames = _decoded(path)
    assert frames is None or frames <= 8 * len(body) + 64


@pytest.mark.parametrize("ext", ["flac", "ogg", "mp3", "aiff", "w64", "caf"])
@given(
    at=st.integers(0, 400),
    wild=st.binary(min_size=1, max_size=8),
    length=st.integers(1, 2**20),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_and_no_length_is_too_wild(
    whole_files: dict[str, bytes], tmp_path: Path, ext: str, at: int, wild: bytes, length: int
) -> None:
    """A few bytes of a good header replaced, and the file ended wherever: frames or a sentence."""
    data = bytearray(whole_files[ext])
    data[at : at + len(wild)] = wild
    path = tmp_path / f"wild.{ext}"
    path.write_bytes(data[:length])
    _decoded(path)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Half a second of noise in each format."""
    folder = tmp_path_factory.mktemp("whole")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (22_050, 2))
    for ext in ("flac", "ogg", "mp3", "aiff", "w64", "caf"):
        soundfile.write(folder / f"noise.{ext}", noise, 44_100)
    return {path.suffix[1:]: path.read_bytes() for path in folder.iterdir()}
