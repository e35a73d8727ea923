"""Every input and output format, with the installed command and the real model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import soundfile
from audio_files import write_libav

from stemsplit.api.demo.song import make_song
from stemsplit.audio.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    SpleeterStems = Callable[..., dict[str, NDArray[np.float32]]]

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("real_models")]

RATE = 44_100
WIENER = 1e-6
FROM_SPLEETER = 3e-5
"""As in `test_equality`; up to half of it is the error of TensorFlow's transform."""

STEMS = ("vocals", "accompaniment")


@pytest.fixture(scope="module")
def music() -> NDArray[np.float32]:
    """Three seconds, quantised to 16 bits, which every lossless format can store."""
    song = make_song(3.0).mix[: 3 * RATE - 7]
    steps: NDArray[np.float32] = np.rint(song * np.float32(2.0**15))
    return steps / np.float32(2.0**15)


def _stems(folder: Path, ext: str = "wav") -> dict[str, NDArray[np.float32]]:
    return {stem: soundfile.read(folder / f"{stem}.{ext}", dtype="float32")[0] for stem in STEMS}


def _write_lossless(folder: Path, music: NDArray[np.float32]) -> None:
    for ext, subtype in [
        ("wav", "PCM_16"),
        ("24.wav", "PCM_24"),
        ("32.wav", "PCM_32"),
        ("float.wav", "FLOAT"),
        ("double.wav", "DOUBLE"),
        ("rf64", "PCM_16"),
        ("w64", "PCM_24"),
        ("aiff", "PCM_16"),
        ("caf", "PCM_24"),
        ("au", "PCM_16"),
        ("flac", "PCM_16"),
        ("24.flac", "PCM_24"),
    ]:
        soundfile.write(
            folder / f"song.{ext}",
            music,
            RATE,
            subtype=subtype,
            format="RF64" if ext == "rf64" else None,
        )
    for ext, codec, sample_format in [
        ("alac.m4a", "alac", "s16p"),
        ("alac24.m4a", "alac", "s32p"),
        ("wv", "wavpack", "s16p"),
        ("tta", "tta", "s16"),
        ("mka", "flac", "s16"),
        ("mkv", "pcm_s24le", ""),
        ("pcm.mka", "pcm_s16be", ""),
    ]:
        write_libav(folder / f"song.{ext}", music, codec, sample_format=sample_format)


def test_every_lossless_container_has_the_stems_of_spleeter(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """The 32-bit stems of 19 files of the same song are identical."""
    songs = tmp_path / "songs"
    songs.mkdir()
    _write_lossless(songs, music)
    names = sorted(path.name for path in songs.iterdir())
    assert len(names) == 19
    name = "{track}.{source_ext}/{stem}.{ext}"
    result = stemsplit(
        "separate", *(songs / file for file in names), "-o", "out", "--bit-depth", "32f",
        "--name", name,
    )  # fmt: skip
    assert result.code == 0, result.err
    expected = _stems(tmp_path / "out" / "song.wav")
    for file in names:
        for stem, samples in _stems(tmp_path / "out" / file).items():
            np.testing.assert_array_equal(samples, expected[stem], err_msg=file)
    theirs = spleeter_stems("2stems", real_models, music)
    for stem, samples in expected.items():
        assert samples.shape == theirs[stem].shape
        assert np.max(np.abs(samples - theirs[stem])) < FROM_SPLEETER


@pytest.mark.parametrize("ext", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_every_output_format(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32], ext: str
) -> None:
    """The length is exact, and the audio is close to that of 32-bit stems."""
    soundfile.write(tmp_path / "song.flac", music, RATE)
    result = stemsplit("separate", "song.flac", "-o", "out", "--format", ext)
    assert result.code == 0, result.err
    exact = stemsplit("separate", "song.flac", "-o", "exact", "--bit-depth", "32f")
    assert exact.code == 0, exact.err
    rate = 48_000 if ext == "opus" else RATE
    for stem, expected in _stems(tmp_path / "exact/song").items():
        with Decoder(tmp_path / "out/song" / f"{stem}.{ext}") as written:
            samples = np.concatenate(list(written.blocks()))
            assert written.info.sample_rate == rate
        assert len(samples) == round(len(music) * rate / RATE)
        if rate == RATE:
            error = np.sum((samples - expected) ** 2) / np.sum(expected**2)
            assert error < (1e-6 if ext in {"wav", "flac"} else 0.05)


def test_the_average_high_band_equals_that_of_spleeter(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """It is Spleeter's `mask_extension: average`, within the same bounds."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    result = stemsplit(
        "separate", "song.wav", "-o", "out", "--high-band", "average", "--bit-depth", "32f"
    )
    assert result.code == 0, result.err
    theirs = spleeter_stems("2stems", real_models, music, mask_extension="average")
    plain = spleeter_stems("2stems", real_models, music)
    for stem, samples in _stems(tmp_path / "out/song").items():
        assert np.max(np.abs(samples - theirs[stem])) < FROM_SPLEETER
        assert np.max(np.abs(samples - plain[stem])) > 1e-3, "the song has audio above 11 kHz"


def test_the_wiener_filter_equals_that_of_spleeter(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """The child filters the whole file; a file that does not fit into the budget is refused."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    result = stemsplit("separate", "song.wav", "-o", "out", "--mwf", "--bit-depth", "32f")
    assert result.code == 0, result.err
    theirs = spleeter_stems("2stems", real_models, music, mwf=True)
    for stem, samples in _stems(tmp_path / "out/song").items():
        assert np.max(np.abs(samples - theirs[stem])) < WIENER
    soundfile.write(tmp_path / "hour.flac", np.zeros((3600 * 8_000, 1), np.int16), 8_000)
    refused = stemsplit(
        "separate", "hour.flac", "-o", "out", "--mwf", "--max-ram", "4GiB", "--json"
    )
    events = [json.loads(line) for line in refused.out.splitlines()]
    (failed,) = (event for event in events if event["type"] == "track_failed")
    assert refused.code == 3
    assert failed["reason"] == "too_large"
    assert failed["attempts"] == 0
    assert "the budget allows 4,096 MiB" in failed["message"]


@pytest.mark.parametrize("options", [(), ("--stems", "vocals"), ("--sample-rate", "source")])
def test_stems_and_residual_sum_to_the_mix(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    options: tuple[str, ...],
) -> None:
    """The sum is exact in 32 and 24 bits; with one selected stem, the residual is the rest."""
    rate = 48_000 if options[:1] == ("--sample-rate",) else RATE
    soundfile.write(tmp_path / "song.wav", music, rate, subtype="PCM_16")
    for depth in ("32f", "24"):
        result = stemsplit(
            "separate", "song.wav", "-o", depth, "--residual", "--bit-depth", depth, *options
        )
        assert result.code == 0, result.err
        files = sorted((tmp_path / depth / "song").iterdir())
        assert len(files) == (2 if "--stems" in options else 3)
        parts = [soundfile.read(file, dtype="float32")[0] for file in files]
        np.testing.assert_array_equal(np.add.reduce(parts), music)


def test_the_centre_of_a_surround_mix_is_kept(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """A voice in the centre of 5.1 is separated like stereo at -3 dB; Spleeter drops it."""
    voice = make_song(3.0).vocals[: len(music)]
    surround = np.zeros((len(voice), 6), np.float32)
    surround[:, 2] = voice[:, 0]
    soundfile.write(tmp_path / "surround.wav", surround, RATE, subtype="PCM_24")
    stereo = (voice[:, :1] * np.float32(np.sqrt(0.5))).repeat(2, axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE, subtype="FLOAT")
    result = stemsplit("separate", "surround.wav", "stereo.wav", "-o", "out", "--bit-depth", "32f")
    assert result.code == 0, result.err
    two = _stems(tmp_path / "out/stereo")
    for stem, samples in _stems(tmp_path / "out/surround").items():
        assert np.max(np.abs(samples - two[stem])) < 1e-5
    assert np.std(two["vocals"]) > 0.01


@pytest.mark.parametrize("container", ["RF64", "W64"])
def test_a_part_beyond_4_gib_is_read(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32], container: str
) -> None:
    """The file has eight channels at 192 kHz and is sparse; the music is at its end."""
    rate, channels = 192_000, 8
    path = tmp_path / f"large.{container.lower()}"
    with soundfile.SoundFile(path, "w", rate, channels, subtype="PCM_24", format=container) as file:
        file.seek(2**32 // (3 * channels) + 5)
        start = file.tell() / rate
        file.write(np.tile(np.repeat(music[:RATE, :1], 4, axis=0), (1, channels)))
    assert path.stat().st_size > 2**32
    result = stemsplit(
        "separate",
        path,
        "-o",
        "out",
        "--start",
        f"{start - 10:.6f}",
        "--duration",
        "10.5",
        "--json",
    )
    assert result.code == 0, result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    (done,) = (event for event in events if event["type"] == "track_done")
    assert done["stems"][0]["frames"] == 21 * RATE // 2
    assert max(stem["peak"] for stem in done["stems"]) > 0.01
    assert done["peak_memory_bytes"] < 900 * 2**20


def test_start_and_duration_equal_those_of_spleeter(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """They are Spleeter's `-s` and `-d`, exact to the sample."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    result = stemsplit(
        "separate", "song.wav", "-o", "out", "--start", "1.1", "--duration", "1.5",
        "--bit-depth", "32f",
    )  # fmt: skip
    assert result.code == 0, result.err
    first = round(1.1 * RATE)
    part = music[first : first + round(1.5 * RATE)]
    theirs = spleeter_stems("2stems", real_models, part)
    for stem, samples in _stems(tmp_path / "out/song").items():
        assert samples.shape == part.shape
        assert np.max(np.abs(samples - theirs[stem])) < FROM_SPLEETER


def test_the_selected_stems_may_change_between_runs(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """All stems, one, all, all with the residual, all: every run separates and refuses nothing."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    for options in ((), ("--stems", "vocals"), (), ("--residual",), ()):
        result = stemsplit("separate", "song.wav", "-o", "out", *options)
        assert result.code == 0, (options, result.err)
        assert "1 separated" in result.out, (options, result.out)
        assert (tmp_path / "out/song/vocals.wav").exists()
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or ())
    ]
