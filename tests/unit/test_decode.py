"""Reading audio files, whole and broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from stemsplit.audio.decode import BLOCK_FRAMES, Decoder, ends_with_final_ogg_page
from stemsplit.errors import BadInputError

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
        return np.concatenate(blocks), source.cut_off()


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
    assert "no telling how much" in warning


@pytest.mark.parametrize("lost", [1, 20, 5_000])
def test_an_ogg_page_must_be_whole_to_count_as_the_last(
    tmp_path: Path, noise: NDArray[np.float32], lost: int
) -> None:
    """Even one byte less at the end is noticed."""
    path = tmp_path / "noise.ogg"
    soundfile.write(path, noise, 44_100)
    assert ends_with_final_ogg_page(path)
    path.write_bytes(path.read_bytes()[:-lost])
    assert not ends_with_final_ogg_page(path)


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
        "text.wav": "not an audio file",
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
