"""`stemsplit convert` and `stemsplit inspect` as a person runs them; no model is needed."""

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
    """The song in steps of 24 bits."""
    steps: NDArray[np.float32] = np.rint(song * np.float32(2.0**23))
    return steps / np.float32(2.0**23)


def test_16_to_24_and_back_is_the_same(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """No sample changes, because 24 bits that were padded need no dither on their way down."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_16")
    there = stemsplit("convert", "a.wav", "-o", "b", "--bit-depth", "24")
    assert there.code == 0, there.err
    assert "1 converted" in there.out
    assert soundfile.info(tmp_path / "b/a.wav").subtype == "PCM_24"
    for source in ("b/a.wav", "a.wav"):
        back = stemsplit("convert", source, "-o", "c", "--bit-depth", "16", "--overwrite")
        assert back.code == 0, back.err
        for one, other in zip(
            *(soundfile.read(tmp_path / name, dtype="int16") for name in ("a.wav", "c/a.wav")),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
    again = stemsplit("convert", "a.wav", "-o", "c", "--bit-depth", "16")
    assert (again.code, "1 done already" in again.out) == (0, True)


def test_24_to_16_is_dithered(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The error has the power of a triangular dither and no mean; twice gives the same file."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_24")
    files = []
    for folder in ("b", "c"):
        ran = stemsplit("convert", "a.wav", "-o", folder, "--bit-depth", "16")
        assert ran.code == 0, ran.err
        files.append((tmp_path / folder / "a.wav").read_bytes())
    assert files[0] == files[1]
    written, _ = soundfile.read(tmp_path / "b/a.wav", dtype="float64")
    error = (written - music) * 2**15
    assert np.var(error) == pytest.approx(0.25, rel=0.02)
    assert abs(np.mean(error)) < 0.01
    assert abs(np.corrcoef(error[:, 0], music[:, 0])[0, 1]) < 0.01
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 0.01


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000, 96_000, 192_000])
def test_another_rate_has_the_frames_it_should(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32], rate: int
) -> None:
    """There, and at `source` back."""
    soundfile.write(tmp_path / "a.flac", music, RATE, subtype="PCM_24")
    ran = stemsplit("convert", "a.flac", "-o", "b", "--sample-rate", str(rate))
    assert ran.code == 0, ran.err
    info = soundfile.info(tmp_path / "b/a.wav")
    assert (info.samplerate, info.subtype) == (rate, "PCM_24")
    assert info.frames == round(len(music) * rate / RATE)


def test_a_film_a_surround_mix_and_what_is_none(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The sound comes out of the one, all channels of the other; the rest is told apart."""
    write_libav(tmp_path / "film.mp4", music, "aac", pictures=25)
    surround = np.tile(music[:, :1], (1, 6))
    soundfile.write(tmp_path / "surround.wav", surround, RATE, subtype="PCM_24")
    (tmp_path / "text.wav").write_text("la la la\n" * 99)
    ran = stemsplit("convert", "film.mp4", "surround.wav", "text.wav", "-o", "out", "-f", "flac")
    assert ran.code == 3
    assert "2 converted, 1 failed" in ran.err
    assert "is a text file, not audio" in ran.err
    assert soundfile.info(tmp_path / "out/film.flac").frames == len(music)
    six, _ = soundfile.read(tmp_path / "out/surround.flac", dtype="float32")
    np.testing.assert_array_equal(six, surround)
    mixed = stemsplit("convert", "surround.wav", "-o", "out", "-f", "opus")
    assert mixed.code == 0, mixed.err
    assert soundfile.info(tmp_path / "out/surround.opus").channels == 2
    assert soundfile.info(tmp_path / "out/surround.opus").samplerate == 48_000


def test_a_source_is_never_written_over(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """Not even by --overwrite, when the output folder is its own."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_24")
    before = (tmp_path / "a.wav").read_bytes()
    ran = stemsplit("convert", "a.wav", "-o", ".", "--bit-depth", "16", "--overwrite")
    assert ran.code == 3
    assert "would be written over" in ran.err
    assert (tmp_path / "a.wav").read_bytes() == before


def test_two_sources_of_one_name_are_told_apart(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """The example that the error gives works as it stands."""
    soundfile.write(tmp_path / "a.wav", music, RATE)
    soundfile.write(tmp_path / "a.flac", music, RATE)
    ran = stemsplit("convert", "a.wav", "a.flac", "-o", "out")
    assert ran.code == 3
    name = ran.err.partition("--name '")[2].partition("'")[0]
    again = stemsplit("convert", "a.wav", "a.flac", "-o", "out", "--name", name)
    assert again.code == 0, again.err
    assert {path.name for path in (tmp_path / "out").glob("a*")} == {"a.wav.wav", "a.flac.wav"}


def test_a_stretch_can_be_cut_out(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """To the sample, at no loss."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_24")
    ran = stemsplit("convert", "a.wav", "-o", "b", "--start", "0:01.5", "--duration", "1.25s")
    assert ran.code == 0, ran.err
    cut, _ = soundfile.read(tmp_path / "b/a.wav", dtype="float32")
    first = round(1.5 * RATE)
    np.testing.assert_array_equal(cut, music[first : first + round(1.25 * RATE)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "mp3", "--bit-depth", "16"), "no bit depth"),
        (("--format", "wav", "--bitrate", "320k"), "no bit rate"),
        (("--sample-rate", "fast"), "sample-rate cannot be"),
        (("--clip", "none", "--bit-depth", "16"), "cannot go beyond full scale"),
        (("--start", "-1"), "start"),
        (("--duration", "0"), "more than 0"),
        (("--name", "{stem}"), "no ending"),
    ],
)
def test_options_that_contradict_are_refused_in_a_sentence(
    stemsplit: Callable[..., Any], options: tuple[str, ...], words: str
) -> None:
    """Exit code 2, before anything is looked at."""
    ran = stemsplit("convert", "a.wav", "-o", "b", *options)
    assert ran.code == 2
    assert words in ran.err


def test_inspect_finds_padding_out(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """24 bits of which 16 are used, beside 24 that are all used; as a table and as JSON."""
    soundfile.write(tmp_path / "a.wav", music, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "true.wav", music, RATE, subtype="PCM_24")
    soundfile.write(tmp_path / "float.wav", music, RATE, subtype="FLOAT")
    stemsplit("convert", "a.wav", "-o", "padded", "--bit-depth", "24")
    table = stemsplit("inspect", "padded/a.wav", "true.wav")
    assert table.code == 0, table.err
    assert "24, of which 16 are used: the rest is padding" in table.out
    assert "24, all used" in table.out
    assert "22050 Hz" in table.out
    told = stemsplit("inspect", "--json", "padded/a.wav", "true.wav", "float.wav")
    padded, true, floating = (json.loads(line) for line in told.out.splitlines())
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
    least = {"tensorflow": 500, "onnx": 300}[installed()[0]]
    assert least * 2**20 < true["predicted_memory_bytes"] < 2000 * 2**20
    assert true["predicted_seconds"] > 0


def test_inspect_tells_what_it_cannot_read(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """A sentence each, exit code 3, and the others all the same."""
    soundfile.write(tmp_path / "good.ogg", music, RATE)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("la la la\n" * 99)
    ran = stemsplit("inspect", "empty.wav", "text.wav", "missing.wav", "good.ogg")
    assert ran.code == 3
    for words in ("is empty", "is a text file, not audio", "does not exist"):
        assert words in ran.err
    assert "none: the encoding is lossy" in ran.out
    assert "Traceback" not in ran.out + ran.err


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
def test_what_ffmpeg_wrote_without_loss_comes_back_to_the_bit(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    options: tuple[str, ...],
) -> None:
    """Written by another program than ours, in the containers people have."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_24")
    name, *codec = options
    command = ["ffmpeg", "-loglevel", "error", "-i", "song.wav", *codec, name]
    subprocess.run(command, cwd=tmp_path, check=True)
    ran = stemsplit("convert", name, "-o", "out")
    assert ran.code == 0, ran.err
    back, _ = soundfile.read(tmp_path / "out/a.wav", dtype="float32")
    np.testing.assert_array_equal(back, music)


def test_what_was_converted_can_be_an_input_and_what_is_strange_is_told(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """A folder of converted files is a folder of files; one that nobody made is left, and told."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.wav", music, RATE, subtype="PCM_16")
    assert "1 converted" in stemsplit("convert", "in", "-o", "b", "--bit-depth", "24").out
    assert "1 converted" in stemsplit("convert", "b", "-o", "c", "--bit-depth", "16").out
    assert "24, of which 16 are used" in stemsplit("inspect", "b").out
    itself = stemsplit("convert", "b", "-o", "b", "-f", "flac")
    assert "1 file left out" in itself.err
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.wav").write_text("precious")
    strange = stemsplit("convert", "in", "-o", "d")
    assert "that no journal knows" in strange.err
    assert (tmp_path / "d/a.wav").read_text() == "precious"


def test_no_source_of_the_batch_is_written_over(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """Two files that are to change names: neither is lost, whatever is allowed."""
    for name, gain in (("one", 1.0), ("two", 0.5)):
        soundfile.write(tmp_path / f"{name}.flac", music * np.float32(gain), RATE)
    before = [(tmp_path / f"{name}.flac").read_bytes() for name in ("one", "two")]
    (tmp_path / "x").mkdir()
    shutil.copy(tmp_path / "one.flac", tmp_path / "x" / "two.flac")
    ran = stemsplit(
        "convert", "x/two.flac", "two.flac", "-o", ".", "--name", "{track}.{ext}",
        "--format", "flac", "--overwrite",
    )  # fmt: skip
    assert ran.code == 3
    assert [(tmp_path / f"{name}.flac").read_bytes() for name in ("one", "two")] == before


def test_more_channels_than_anybody_has_named(
    stemsplit: Callable[..., Any], tmp_path: Path
) -> None:
    """Ten: inspected and converted as they are, but not to FLAC, which has no room for them."""
    soundfile.write(tmp_path / "ten.wav", np.full((RATE, 10), 0.1), RATE, subtype="PCM_24")
    assert stemsplit("inspect", "ten.wav").code == 0
    assert stemsplit("convert", "ten.wav", "-o", "out").code == 0
    assert soundfile.info(tmp_path / "out/ten.wav").channels == 10
    flac = stemsplit("convert", "ten.wav", "-o", "out", "-f", "flac")
    assert flac.code == 3
    assert "FLAC holds 8 at most" in flac.err
