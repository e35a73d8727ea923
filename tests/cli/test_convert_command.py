"""`stemsplit convert` and `stemsplit inspect` from the command line; no model is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from audio_files import write_libav

from stemsplit.models.engines import installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 44_100


@pytest.fixture
def music(song: NDArray[np.float32]) -> NDArray[np.float32]:
    """The song, quantised to 24 bits."""
    quantised: NDArray[np.float32] = np.rint(song * np.float32(2.0**23))
    return quantised / np.float32(2.0**23)


def test_16_bits_to_24_bits_and_back_is_lossless(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """No sample changes: padded 24-bit samples need no dither when they are reduced."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_16")
    padded = stemsplit("convert", "a.wav", "-o", "b", "--bit-depth", "24")
    assert padded.code == 0, padded.err
    assert "1 converted" in padded.out
    assert soundfile.info(tmp_path / "b/a.wav").subtype == "PCM_24"
    for source in ("b/a.wav", "a.wav"):
        reduced = stemsplit("convert", source, "-o", "c", "--bit-depth", "16", "--overwrite")
        assert reduced.code == 0, reduced.err
        for expected, actual in zip(
            *(soundfile.read(tmp_path / name, dtype="int16") for name in ("a.wav", "c/a.wav")),
            strict=True,
        ):
            np.testing.assert_array_equal(expected, actual)
    again = stemsplit("convert", "a.wav", "-o", "c", "--bit-depth", "16")
    assert (again.code, "1 already done" in again.out) == (0, True)


def test_24_bits_to_16_bits_is_dithered(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The error has the power of triangular dither and zero mean; a repetition is identical."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_24")
    files = []
    for folder in ("b", "c"):
        result = stemsplit("convert", "a.wav", "-o", folder, "--bit-depth", "16")
        assert result.code == 0, result.err
        files.append((tmp_path / folder / "a.wav").read_bytes())
    assert files[0] == files[1]
    written, _ = soundfile.read(tmp_path / "b/a.wav", dtype="float64")
    error = (written - music) * 2**15
    assert np.var(error) == pytest.approx(0.25, rel=0.02)
    assert abs(np.mean(error)) < 0.01
    assert abs(np.corrcoef(error[:, 0], music[:, 0])[0, 1]) < 0.01
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 0.01


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000, 192_000])
def test_a_resampled_file_has_the_right_length(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32], rate: int
) -> None:
    """The number of frames is scaled by the ratio of the sample rates."""
    soundfile.write(tmp_path / "a.flac", music, RATE, subtype="PCM_24")
    result = stemsplit("convert", "a.flac", "-o", "b", "--sample-rate", str(rate))
    assert result.code == 0, result.err
    info = soundfile.info(tmp_path / "b/a.wav")
    assert (info.samplerate, info.subtype) == (rate, "PCM_24")
    assert info.frames == round(len(music) * rate / RATE)


def test_a_video_a_surround_mix_and_a_text_file(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The video's audio and all surround channels are converted; the text file is refused."""
    write_libav(tmp_path / "film.mp4", music, "aac", pictures=25)
    surround = np.tile(music[:, :1], (1, 6))
    soundfile.write(tmp_path / "surround.wav", surround, RATE, subtype="PCM_24")
    (tmp_path / "text.wav").write_text("la la la\n" * 99)
    result = stemsplit("convert", "film.mp4", "surround.wav", "text.wav", "-o", "out", "-f", "flac")
    assert result.code == 3
    assert "2 converted, 1 failed" in result.err
    assert "is a text file, not audio" in result.err
    assert soundfile.info(tmp_path / "out/film.flac").frames == len(music)
    written, _ = soundfile.read(tmp_path / "out/surround.flac", dtype="float32")
    np.testing.assert_array_equal(written, surround)
    downmixed = stemsplit("convert", "surround.wav", "-o", "out", "-f", "opus")
    assert downmixed.code == 0, downmixed.err
    assert soundfile.info(tmp_path / "out/surround.opus").channels == 2
    assert soundfile.info(tmp_path / "out/surround.opus").samplerate == 48_000


def test_a_source_is_never_overwritten(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """It is refused even with `--overwrite`, if the output folder is that of the source."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_24")
    before = (tmp_path / "a.wav").read_bytes()
    result = stemsplit("convert", "a.wav", "-o", ".", "--bit-depth", "16", "--overwrite")
    assert result.code == 3
    assert "would overwrite a source" in result.err
    assert (tmp_path / "a.wav").read_bytes() == before


def test_the_suggested_template_resolves_a_collision(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The `--name` example in the error message works unchanged."""
    soundfile.write(tmp_path / "a.wav", music, RATE)
    soundfile.write(tmp_path / "a.flac", music, RATE)
    result = stemsplit("convert", "a.wav", "a.flac", "-o", "out")
    assert result.code == 3
    name = result.err.partition("--name '")[2].partition("'")[0]
    again = stemsplit("convert", "a.wav", "a.flac", "-o", "out", "--name", name)
    assert again.code == 0, again.err
    assert {path.name for path in (tmp_path / "out").glob("a*")} == {"a.wav.wav", "a.flac.wav"}


def test_start_and_duration_select_a_part(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The part is exact to the sample, and lossless."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_24")
    result = stemsplit("convert", "a.wav", "-o", "b", "--start", "0:01.5", "--duration", "1.25s")
    assert result.code == 0, result.err
    cut, _ = soundfile.read(tmp_path / "b/a.wav", dtype="float32")
    first = round(1.5 * RATE)
    np.testing.assert_array_equal(cut, music[first : first + round(1.25 * RATE)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "mp3", "--bit-depth", "16"), "no bit depth"),
        (("--format", "wav", "--bitrate", "320k"), "The bit rate of wav cannot be set"),
        (("--sample-rate", "fast"), "Invalid sample rate: “fast”"),
        (("--clip", "none", "--bit-depth", "16"), "cannot exceed full scale"),
        (("--start", "-1"), "start"),
        (("--duration", "0"), "more than 0"),
        (("--name", "{stem}"), "no extension"),
    ],
)
def test_invalid_and_contradictory_options_are_usage_errors(
    stemsplit: Callable[..., Any], options: tuple[str, ...], message: str
) -> None:
    """The exit code is 2, before any file is read."""
    result = stemsplit("convert", "a.wav", "-o", "b", *options)
    assert result.code == 2
    assert message in result.err


def test_inspect_detects_padding(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """24 bits with 16 used differ from 24 used bits, in the table and in the JSON."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "true.wav", music, RATE, subtype="PCM_24")
    soundfile.write(tmp_path / "float.wav", music, RATE, subtype="FLOAT")
    stemsplit("convert", "a.wav", "-o", "padded", "--bit-depth", "24")
    table = stemsplit("inspect", "padded/a.wav", "true.wav")
    assert table.code == 0, table.err
    assert "24, 16 used (padded)" in table.out
    assert "24, all used" in table.out
    assert "22050 Hz" in table.out
    listing = stemsplit("inspect", "--json", "padded/a.wav", "true.wav", "float.wav")
    padded, true, floating = (json.loads(line) for line in listing.out.splitlines())
    assert (padded["declared_bits"], padded["used_bits"]) == (24, 16)
    assert (true["declared_bits"], true["used_bits"]) == (24, 24)
    assert (floating["declared_bits"], floating["used_bits"], floating["floating"]) == (
        32,
        24,
        True,
    )
    assert padded["frames"] == len(music)
    assert padded["channels"] == ["FL", "FR"]
    peak = 20 * np.log10(np.max(np.abs(music)))
    assert true["peak_dbfs"] == pytest.approx(peak, abs=1e-6)
    assert true["true_peak_dbtp"] >= peak - 0.1
    assert -40 < true["loudness_lufs"] < -5
    min_mebibytes = {"tensorflow": 500, "onnx": 300}[installed()[0]]
    assert min_mebibytes * 2**20 < true["predicted_memory_bytes"] < 2000 * 2**20
    assert true["predicted_seconds"] > 0


def test_inspect_reports_unreadable_files(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """Each has a sentence and the exit code is 3; other files are still inspected."""
    soundfile.write(tmp_path / "good.ogg", music, RATE)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("la la la\n" * 99)
    result = stemsplit("inspect", "empty.wav", "text.wav", "missing.wav", "good.ogg")
    assert result.code == 3
    for message in ("is empty", "is a text file, not audio", "does not exist"):
        assert message in result.err
    assert "none (lossy encoding)" in result.out
    assert "Traceback" not in result.out + result.err


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    "options",
    [
        ("a.m4a", "-c:a", "alac"),
        ("a.wv", "-c:a", "wavpack"),
        ("a.aiff", "-c:a", "pcm_s24be"),
        ("a.caf", "-c:a", "pcm_s24le"),
        ("a.mka", "-c:a", "flac"),
        ("a.w64", "-c:a", "pcm_s24le"),
    ],
    ids=lambda options: options[0],
)
def test_lossless_files_from_ffmpeg_are_read_exactly(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    options: tuple[str, ...],
) -> None:
    """Another program wrote them, in common containers."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_24")
    name, *codec = options
    command = ["ffmpeg", "-loglevel", "error", "-i", "song.wav", *codec, name]
    subprocess.run(command, cwd=tmp_path, check=True)
    result = stemsplit("convert", name, "-o", "out")
    assert result.code == 0, result.err
    decoded, _ = soundfile.read(tmp_path / "out/a.wav", dtype="float32")
    np.testing.assert_array_equal(decoded, music)


def test_converted_files_can_be_inputs_and_untracked_files_are_kept(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """Outputs of one run are inputs of another; an untracked file is kept and reported."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.wav", music, RATE, subtype="PCM_16")
    assert "1 converted" in stemsplit("convert", "in", "-o", "b", "--bit-depth", "24").out
    assert "1 converted" in stemsplit("convert", "b", "-o", "c", "--bit-depth", "16").out
    assert "24, 16 used" in stemsplit("inspect", "b").out
    into_itself = stemsplit("convert", "b", "-o", "b", "-f", "flac")
    assert "1 file ignored" in into_itself.err
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.wav").write_text("precious")
    refused = stemsplit("convert", "in", "-o", "d")
    assert "untracked files" in refused.err
    assert (tmp_path / "d/a.wav").read_text() == "precious"


def test_no_source_of_a_batch_is_overwritten(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """A track is refused if its destination is another track's source, even with `--overwrite`."""
    for name, gain in (("one", 1.0), ("two", 0.5)):
        soundfile.write(tmp_path / f"{name}.flac", music * np.float32(gain), RATE)
    before = [(tmp_path / f"{name}.flac").read_bytes() for name in ("one", "two")]
    (tmp_path / "x").mkdir()
    shutil.copy(tmp_path / "one.flac", tmp_path / "x" / "two.flac")
    result = stemsplit(
        "convert", "x/two.flac", "two.flac", "-o", ".", "--name", "{track}.{ext}",
        "--format", "flac", "--overwrite",
    )  # fmt: skip
    assert result.code == 3
    assert [(tmp_path / f"{name}.flac").read_bytes() for name in ("one", "two")] == before


def test_ten_channels(stemsplit: Callable[..., Any], tmp_path: Path) -> None:
    """They are inspected and converted unchanged, but not to FLAC, which supports 8."""
    soundfile.write(tmp_path / "ten.wav", np.full((RATE, 10), 0.1), RATE, subtype="PCM_24")
    assert stemsplit("inspect", "ten.wav").code == 0
    assert stemsplit("convert", "ten.wav", "-o", "out").code == 0
    assert soundfile.info(tmp_path / "out/ten.wav").channels == 10
    flac = stemsplit("convert", "ten.wav", "-o", "out", "-f", "flac")
    assert flac.code == 3
    assert "FLAC supports at most 8" in flac.err
