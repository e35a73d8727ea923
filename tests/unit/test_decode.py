"""Decoding audio files, intact and damaged."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemsplit.audio.containers.find_parts import find_parts
from stemsplit.audio.decode import Decoder
from stemsplit.audio.sample_blocks import BLOCK_FRAMES
from stemsplit.core.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES = 5 * 44_100


@pytest.fixture
def noise() -> NDArray[np.float32]:
    """Five seconds of noise, which no codec can predict."""
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
def test_lossless_files_are_decoded_exactly(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    """The blocks equal libsndfile's result for the whole file, and nothing is missing."""
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, 44_100)
    whole, _ = soundfile.read(path, dtype="float32")
    read, missing = _read(path)
    np.testing.assert_array_equal(read, whole)
    assert missing == ""


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_intact_lossy_files_have_no_warning(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    """An intact Ogg or MP3 file has all of its frames."""
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, 44_100)
    read, missing = _read(path)
    assert len(read) == FRAMES
    assert missing == ""


@pytest.mark.parametrize("suffix", ["wav", "aiff", "w64", "au", "flac", "mp3"])
def test_the_warning_contains_the_missing_duration(
    tmp_path: Path, noise: NDArray[np.float32], suffix: str
) -> None:
    """Of a file cut at 60 %, about 3 of 5 seconds are decoded exactly."""
    path = tmp_path / f"noise.{suffix}"
    soundfile.write(path, noise, 44_100)
    whole, _ = soundfile.read(path, dtype="float32")
    read, warning = _read(_cut(path, 0.6))
    assert 0.55 * FRAMES < len(read) < 0.61 * FRAMES
    if suffix != "mp3":  # its decoder conceals the incomplete frame
        np.testing.assert_array_equal(read, whole[: len(read)])
    missing_seconds = 5 - len(read) / 44_100
    assert f"{missing_seconds:.2f} s of 5.00 s" in warning


def test_the_missing_duration_of_a_cut_ogg_is_unknown(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """Ogg does not declare its length, so the warning contains no figure."""
    path = tmp_path / "noise.ogg"
    soundfile.write(path, noise, 44_100)
    read, warning = _read(_cut(path, 0.6))
    assert 0 < len(read) < FRAMES
    assert "how much is missing is unknown" in warning


@pytest.mark.parametrize("lost", [1, 20, 5_000])
def test_an_incomplete_last_ogg_page_means_that_the_file_is_cut_off(
    tmp_path: Path, noise: NDArray[np.float32], lost: int
) -> None:
    """One missing byte at the end suffices."""
    path = tmp_path / "noise.ogg"
    soundfile.write(path, noise, 44_100)
    assert not find_parts(path)[-1].is_cut_off
    path.write_bytes(path.read_bytes()[:-lost])
    assert find_parts(path)[-1].is_cut_off


def test_a_wav_written_to_a_pipe_has_no_warning(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Programs that cannot seek back to the header leave a size of 0xFFFFFFFF."""
    path = tmp_path / "piped.wav"
    soundfile.write(path, noise, 44_100)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    read, missing = _read(path)
    assert len(read) == FRAMES
    assert missing == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_refused_with_its_time(
    tmp_path: Path, noise: NDArray[np.float32], value: float
) -> None:
    """NaN and infinity are errors, and the message contains their time."""
    noise[100_000, 1] = value
    path = tmp_path / "nan.wav"
    soundfile.write(path, noise, 44_100, subtype="FLOAT")
    with pytest.raises(BadInputError, match=r"not a finite number at 2\.268 s"):
        _read(path)


def test_paths_that_are_not_audio_have_specific_errors(tmp_path: Path) -> None:
    """Missing, empty, text, only a header, a folder."""
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
    for name, message in expected.items():
        with pytest.raises(BadInputError, match=message) as caught:
            _read(tmp_path / name)
        assert caught.value.remedy


def test_a_header_without_decodable_samples_is_damaged(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """A FLAC file that is cut off inside its first frame is an error, not an empty stem."""
    path = tmp_path / "noise.flac"
    soundfile.write(path, noise, 44_100)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\xff\xf8") + 50])
    with pytest.raises(BadInputError, match="none of its samples can be decoded"):
        _read(path)


def _decoded_frames(path: Path) -> int | None:
    """Return the number of decoded frames; None if the file is refused."""
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
def test_any_wav_header_is_decoded_or_refused(
    tmp_path: Path, *, riff: int, kind: int, channels: int, rate: int, bits: int, size: int,
    body: bytes,
) -> None:  # fmt: skip
    """Arbitrary numbers never produce more frames than the bytes contain."""
    block = channels * bits // 8 % 2**16
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff, b"WAVE", b"fmt ", 16, kind, channels,
                       rate, rate * block % 2**32, block, bits)  # fmt: skip
    path = tmp_path / "damaged.wav"
    path.write_bytes(head + struct.pack("<4sI", b"data", size) + body)
    frames = _decoded_frames(path)
    assert frames is None or frames <= 8 * len(body) + 64


@pytest.mark.parametrize("ext", ["flac", "ogg", "mp3", "aiff", "w64", "caf"])
@given(
    position=st.integers(0, 400),
    replacement=st.binary(min_size=1, max_size=8),
    length=st.integers(1, 2**20),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damaged_header_is_decoded_or_refused(
    intact_files: dict[str, bytes],
    tmp_path: Path,
    ext: str,
    position: int,
    replacement: bytes,
    length: int,
) -> None:
    """A few bytes of a valid header are replaced, and the file is cut anywhere."""
    data = bytearray(intact_files[ext])
    data[position : position + len(replacement)] = replacement
    path = tmp_path / f"damaged.{ext}"
    path.write_bytes(data[:length])
    _decoded_frames(path)


@pytest.fixture(scope="module")
def intact_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Half a second of noise in each format."""
    folder = tmp_path_factory.mktemp("intact")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (22_050, 2))
    for ext in ("flac", "ogg", "mp3", "aiff", "w64", "caf"):
        soundfile.write(folder / f"noise.{ext}", noise, 44_100)
    return {path.suffix[1:]: path.read_bytes() for path in folder.iterdir()}
