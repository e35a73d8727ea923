"""Every format in and out, through the installed command, with the real model."""

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
"""As in `test_equality`: TensorFlow's transform is up to half of that from exact."""

STEMS = ("vocals", "accompaniment")


@pytest.fixture(scope="module")
def music() -> NDArray[np.float32]:
    """Three seconds in steps of 16 bits, which every lossless format holds."""
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


def test_every_lossless_container_gives_the_same_stems_and_spleeter_s(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """Nineteen files of one song: their 32-bit stems are equal to the last bit."""
    songs = tmp_path / "songs"
    songs.mkdir()
    _write_lossless(songs, music)
    names = sorted(path.name for path in songs.iterdir())
    assert len(names) == 19
    name = "{track}.{source_ext}/{stem}.{ext}"
    ran = stemsplit(
        "separate", *(songs / one for one in names), "-o", "out", "--bit-depth", "32f",
        "--name", name,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    expected = _stems(tmp_path / "out" / "song.wav")
    for one in names:
        for stem, samples in _stems(tmp_path / "out" / one).items():
            np.testing.assert_array_equal(samples, expected[stem], err_msg=one)
    theirs = spleeter_stems("2stems", real_models, music)
    for stem, samples in expected.items():
        assert samples.shape == theirs[stem].shape
        assert np.max(np.abs(samples - theirs[stem])) < FROM_SPLEETER


@pytest.mark.parametrize("ext", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_every_format_out(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32], ext: str
) -> None:
    """The stems' frames, the source's tags, and the sound of the 32-bit stems, about."""
    soundfile.write(tmp_path / "song.flac", music, RATE)
    ran = stemsplit("separate", "song.flac", "-o", "out", "--format", ext)
    assert ran.code == 0, ran.err
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


def test_the_high_band_by_the_average_is_spleeter_s(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """Its own other way to extend masks, `mask_extension: average`, within the same bounds."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    ran = stemsplit(
        "separate", "song.wav", "-o", "out", "--high-band", "average", "--bit-depth", "32f"
    )
    assert ran.code == 0, ran.err
    theirs = spleeter_stems("2stems", real_models, music, mask_extension="average")
    plain = spleeter_stems("2stems", real_models, music)
    for stem, samples in _stems(tmp_path / "out/song").items():
        assert np.max(np.abs(samples - theirs[stem])) < FROM_SPLEETER
        assert np.max(np.abs(samples - plain[stem])) > 1e-3, "there is something above 11 kHz"


def test_the_wiener_filter_is_spleeter_s(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """As a whole file, in a child; a budget that it does not fit into refuses it at once."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    ran = stemsplit("separate", "song.wav", "-o", "out", "--mwf", "--bit-depth", "32f")
    assert ran.code == 0, ran.err
    theirs = spleeter_stems("2stems", real_models, music, mwf=True)
    for stem, samples in _stems(tmp_path / "out/song").items():
        assert np.max(np.abs(samples - theirs[stem])) < WIENER
    soundfile.write(tmp_path / "hour.flac", np.zeros((3600 * 8_000, 1), np.int16), 8_000)
    long = stemsplit("separate", "hour.flac", "-o", "out", "--mwf", "--max-ram", "4GiB", "--json")
    told = [json.loads(line) for line in long.out.splitlines()]
    (failed,) = (event for event in told if event["type"] == "track_failed")
    assert long.code == 3
    assert failed["reason"] == "too_large"
    assert failed["attempts"] == 0
    assert "the budget allows 4,096 MiB" in failed["message"]


@pytest.mark.parametrize("options", [(), ("--stems", "vocals"), ("--sample-rate", "source")])
def test_stems_and_residual_make_the_mix_to_the_last_bit(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    options: tuple[str, ...],
) -> None:
    """In 32 and in 24 bits; with one stem alone the residual is all the rest."""
    rate = 48_000 if options[:1] == ("--sample-rate",) else RATE
    soundfile.write(tmp_path / "song.wav", music, rate, subtype="PCM_16")
    for depth in ("32f", "24"):
        ran = stemsplit(
            "separate", "song.wav", "-o", depth, "--residual", "--bit-depth", depth, *options
        )
        assert ran.code == 0, ran.err
        files = sorted((tmp_path / depth / "song").iterdir())
        assert len(files) == (2 if "--stems" in options else 3)
        parts = [soundfile.read(file, dtype="float32")[0] for file in files]
        np.testing.assert_array_equal(np.add.reduce(parts), music)


def test_the_middle_of_a_surround_mix_is_not_lost(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """A voice in the centre of 5.1 comes out as it does of stereo, at -3 dB; Spleeter drops it."""
    voice = make_song(3.0).vocals[: len(music)]
    surround = np.zeros((len(voice), 6), np.float32)
    surround[:, 2] = voice[:, 0]
    soundfile.write(tmp_path / "surround.wav", surround, RATE, subtype="PCM_24")
    stereo = (voice[:, :1] * np.float32(np.sqrt(0.5))).repeat(2, axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE, subtype="FLOAT")
    ran = stemsplit("separate", "surround.wav", "stereo.wav", "-o", "out", "--bit-depth", "32f")
    assert ran.code == 0, ran.err
    two = _stems(tmp_path / "out/stereo")
    for stem, samples in _stems(tmp_path / "out/surround").items():
        assert np.max(np.abs(samples - two[stem])) < 1e-5
    assert np.std(two["vocals"]) > 0.01


@pytest.mark.parametrize("container", ["RF64", "W64"])
def test_a_stretch_beyond_4_gib_is_found(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32], container: str
) -> None:
    """Eight channels at 192 kHz, most of it a hole in the file; the music stands at its end."""
    rate, channels = 192_000, 8
    path = tmp_path / f"large.{container.lower()}"
    with soundfile.SoundFile(path, "w", rate, channels, subtype="PCM_24", format=container) as file:
        file.seek(2**32 // (3 * channels) + 5)
        start = file.tell() / rate
        file.write(np.tile(np.repeat(music[:RATE, :1], 4, axis=0), (1, channels)))
    assert path.stat().st_size > 2**32
    ran = stemsplit(
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
    assert ran.code == 0, ran.err
    told = [json.loads(line) for line in ran.out.splitlines()]
    (done,) = (event for event in told if event["type"] == "track_done")
    assert done["stems"][0]["frames"] == 21 * RATE // 2
    assert max(stem["peak"] for stem in done["stems"]) > 0.01
    assert done["peak_memory_bytes"] < 900 * 2**20


def test_a_start_and_a_duration_give_spleeter_s_stems_of_that_stretch(
    stemsplit: Callable[..., Any],
    tmp_path: Path,
    music: NDArray[np.float32],
    real_models: Path,
    spleeter_stems: SpleeterStems,
) -> None:
    """Spleeter's own -s and -d, to the sample."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    ran = stemsplit(
        "separate", "song.wav", "-o", "out", "--start", "1.1", "--duration", "1.5",
        "--bit-depth", "32f",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    first = round(1.1 * RATE)
    stretch = music[first : first + round(1.5 * RATE)]
    theirs = spleeter_stems("2stems", real_models, stretch)
    for stem, samples in _stems(tmp_path / "out/song").items():
        assert samples.shape == stretch.shape
        assert np.max(np.abs(samples - theirs[stem])) < FROM_SPLEETER


def test_another_choice_of_stems_works_in_the_same_folder(
    stemsplit: Callable[..., Any], tmp_path: Path, music: NDArray[np.float32]
) -> None:
    """All, then one, then all again, then one more: each does what it says and refuses nothing."""
    soundfile.write(tmp_path / "song.wav", music, RATE, subtype="PCM_16")
    for options in ((), ("--stems", "vocals"), (), ("--residual",), ()):
        ran = stemsplit("separate", "song.wav", "-o", "out", *options)
        assert ran.code == 0, (options, ran.err)
        assert "1 separated" in ran.out, (options, ran.out)
        assert (tmp_path / "out/song/vocals.wav").exists()
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or ())
    ]
