"""Files that libsndfile does not read: lengths, channels, damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import soundfile
from audio_files import write_libav

from stemsplit.audio.av_frames import samples_of
from stemsplit.audio.channels import USUAL
from stemsplit.audio.decode import Decoder
from stemsplit.core.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES, RATE = 100_003, 44_100


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float32]:
    """Steps of 16 bits that no codec can guess."""
    steps = np.random.default_rng(0).integers(-8_000, 8_000, (FRAMES, 2))
    return (steps / 2**15).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], codec: str, **options: Any) -> None:  # noqa: ANN401 - those of either writer
    """Write a file with libsndfile, or with an encoder of FFmpeg's if one is named."""
    if codec:
        write_libav(path, samples, codec, **options)
    else:
        soundfile.write(path, samples, RATE, **options)


def _read(path: Path) -> tuple[NDArray[np.float32], str]:
    with Decoder(path) as source:
        samples, loss = np.concatenate(list(source.blocks())), source.loss()
        return samples, "" if loss is None else loss.text


@pytest.mark.parametrize(
    ("name", "codec", "sample_format"),
    [
        ("a.m4a", "alac", "s16p"),
        ("a.mka", "flac", "s16"),
        ("a.wv", "wavpack", "s16p"),
        ("a.tta", "tta", "s16"),
        ("a.mov", "pcm_s16le", ""),
        ("a.mkv", "pcm_s24le", ""),
    ],
)
def test_lossless_codecs_give_the_samples_to_the_bit(
    tmp_path: Path, noise: NDArray[np.float32], name: str, codec: str, sample_format: str
) -> None:
    """Whatever the container, the same samples come out, and no more or fewer of them."""
    path = tmp_path / name
    write(path, noise, codec, sample_format=sample_format)
    read, warning = _read(path)
    np.testing.assert_array_equal(read, noise)
    assert warning == ""
    with Decoder(path) as source:
        assert source.info.bits == (24 if "24" in codec else 16)
        assert not source.info.floating


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.m4a", "aac", 44_100),
        ("a.mp4", "aac", 48_000),
        ("exact.m4a", "aac", 44_100),
        ("a.webm", "libopus", 48_000),
        ("a.opus", "libopus", 48_000),
        ("a.mp3", "libmp3lame", 44_100),
    ],
)
def test_gapless_files_have_the_frames_that_were_encoded(
    tmp_path: Path, noise: NDArray[np.float32], name: str, codec: str, rate: int
) -> None:
    """What an encoder puts before and behind the music is left out, to the sample."""
    path = tmp_path / name
    options = {"movie_timescale": str(rate)} if name.startswith("exact") else {}
    write(path, noise, codec, rate=rate, **options)
    read, warning = _read(path)
    assert len(read) == FRAMES
    assert warning == ""
    # Not shifted either: the start of the noise is where it was.
    lags = [
        float(np.sum(read[1000 + lag : 9000 + lag] * noise[1000:9000])) for lag in range(-9, 10)
    ]
    assert int(np.argmax(lags)) == 9


def test_apple_s_own_word_on_the_length_counts(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """`iTunSMPB` says how many samples are music, also where the edit list does not."""
    path = tmp_path / "a.m4a"
    output: Any = av.open(str(path), "w")
    output.metadata["iTunSMPB"] = f" 00000000 00000400 00000100 {FRAMES - 500:016X} 00000000"
    output.close()
    plain = tmp_path / "plain.m4a"
    write(plain, noise, "aac", movflags="use_metadata_tags")
    tagged: Any = av.open(str(path), "w", options={"movflags": "use_metadata_tags"})
    tagged.metadata["iTunSMPB"] = f" 00000000 00000400 00000100 {FRAMES - 500:016X} 00000000"
    source: Any = av.open(str(plain))
    stream = tagged.add_stream_from_template(source.streams.audio[0])
    for packet in source.demux(source.streams.audio[0]):
        if packet.dts is not None:
            packet.stream = stream
            tagged.mux(packet)
    tagged.close()
    read, warning = _read(path)
    assert len(read) == FRAMES - 500
    assert warning == ""


@pytest.mark.parametrize(("layout", "count"), [("5.1", 6), ("7.1", 8)])
def test_surround_channels_keep_their_names(tmp_path: Path, layout: str, count: int) -> None:
    """WAV and FLAC say which channel is which, and the order is kept."""
    levels = np.linspace(0.1, 0.8, count, dtype=np.float32)
    for name, codec in (
        ("a.wav", "pcm_s24le"),
        ("a.flac", "flac"),
        ("a.mka", "flac"),
        ("a.m4a", "aac"),
    ):
        path = tmp_path / name
        write(path, np.tile(levels, (5_000, 1)), codec, layout=layout)
        with Decoder(path) as source:
            block = np.concatenate(list(source.blocks()))
            assert source.channels[:4] == ("FL", "FR", "FC", "LFE")
            assert len(source.channels) == count
        np.testing.assert_allclose(block[2_000], levels, atol=0.02 if codec == "aac" else 1e-4)


def test_64_bit_samples_are_read(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Floating point by libsndfile, integers by FFmpeg."""
    soundfile.write(tmp_path / "double.wav", noise, RATE, subtype="DOUBLE")
    write(tmp_path / "long.mov", noise, "pcm_f64le")
    for name in ("double.wav", "long.mov"):
        read, _ = _read(tmp_path / name)
        np.testing.assert_array_equal(read, noise)
        with Decoder(tmp_path / name) as source:
            assert (source.info.bits, source.info.floating) == (64, True)


@pytest.mark.parametrize(
    ("sample_format", "dtype", "full"),
    [("u8", np.uint8, 128), ("s16", np.int16, 2**15), ("s32p", np.int32, 2**31)],
)
def test_integers_become_fractions_of_full_scale(
    sample_format: str, dtype: type, full: int
) -> None:
    """The lowest step is -1, zero is 0, packed or planar."""
    zero = 128 if dtype is np.uint8 else 0
    values = np.array([[zero - full, zero - full], [zero, zero], [zero + full // 2, zero]])
    shaped = values.T if sample_format.endswith("p") else values.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(shaped.astype(dtype)), format=sample_format, layout="stereo"
    )
    np.testing.assert_array_equal(samples_of(frame), np.array([[-1, -1], [0, 0], [0.5, 0]]))


def test_says_how_much_of_a_cut_film_is_missing(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """An MP4 whose header stands in front, cut at 60 %."""
    path = tmp_path / "a.m4a"
    write(path, noise, "aac", movflags="faststart")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    read, warning = _read(path)
    assert 0.4 * FRAMES < len(read) < 0.7 * FRAMES
    assert "missing at the end" in warning


def test_an_mp4_that_lost_its_header_is_refused(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """It stands at the end by default: without it nothing can be decoded."""
    path = tmp_path / "a.m4a"
    write(path, noise, "aac")
    path.write_bytes(path.read_bytes()[:-5_000])
    with pytest.raises(BadInputError, match="is cut off: the index at its end"):
        _read(path)


def test_a_damaged_packet_becomes_silence_of_its_length(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """What follows stays in its place, and the warning says so."""
    path = tmp_path / "a.m4a"
    write(path, noise, "alac", sample_format="s16p")
    whole, _ = _read(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4_000] = bytes(4_000)
    path.write_bytes(data)
    read, warning = _read(path)
    assert len(read) == len(whole)
    np.testing.assert_array_equal(read[-20_000:], whole[-20_000:])
    assert "is damaged: 0.09 s of 2.27 s" in warning
    assert f"missing at 0:0{np.flatnonzero(~read.any(axis=1))[0] / RATE:.2f}" in warning


def test_a_film_without_sound_and_a_playlist_are_refused(tmp_path: Path) -> None:
    """The one has nothing to give; the other would lead to other files."""
    soundfile.write(tmp_path / "other.wav", np.zeros((1000, 2)), RATE)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'other.wav'}\n#EXT-X-ENDLIST\n"
    )
    film = tmp_path / "silent.mkv"
    output: Any = av.open(str(film), "w")
    stream = output.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    output.mux(stream.encode(None))
    output.close()
    with pytest.raises(BadInputError, match="has no audio track"):
        _read(film)
    with pytest.raises(BadInputError, match="is a playlist, not audio"):
        _read(playlist)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.wav", ""),
        ("a.flac", ""),
        ("a.ogg", ""),
        ("a.mp3", ""),
        ("a.m4a", "aac"),
        ("a.mka", "flac"),
    ],
)
@pytest.mark.parametrize(
    ("start", "duration"), [(0.0, 0.5), (1.0, 0.5), (0.123456, None), (2.2, 9.0)]
)
def test_a_stretch_is_the_same_samples_as_in_the_whole(
    tmp_path: Path,
    noise: NDArray[np.float32],
    name: str,
    codec: str,
    start: float,
    duration: float | None,
) -> None:
    """Start and end lie at the nearest sample, in every format; nothing is called missing."""
    path = tmp_path / name
    write(path, noise, codec)
    whole, _ = _read(path)
    first = round(start * RATE)
    last = len(whole) if duration is None else first + round(duration * RATE)
    with Decoder(path, start_seconds=start, duration_seconds=duration) as source:
        read = np.concatenate(list(source.blocks()))
        assert source.loss() is None
        expected = source.expected_frames
        assert expected is None or abs(expected - len(read)) < RATE / 500
    np.testing.assert_array_equal(read, whole[first:last])


@pytest.mark.parametrize(("name", "codec"), [("a.wav", ""), ("a.m4a", "aac"), ("a.aac", "aac")])
def test_a_start_behind_the_end_is_told(
    tmp_path: Path, noise: NDArray[np.float32], name: str, codec: str
) -> None:
    """Also where only decoding tells how long a file is."""
    path = tmp_path / name
    write(path, noise, codec)
    with (
        pytest.raises(BadInputError, match=r"ends at 2\.\d+ s, before the 5\.00 s"),
        Decoder(path, start_seconds=5.0) as source,
    ):
        list(source.blocks())


@pytest.mark.parametrize("ext", ["ogg", "opus", "mp3"])
def test_files_put_behind_one_another_are_read_to_the_end(
    tmp_path: Path, noise: NDArray[np.float32], ext: str
) -> None:
    """Libsndfile stops after the first; `cat` and radio recorders make such files."""
    one = tmp_path / f"one.{ext}"
    if ext == "opus":
        write(one, noise, "libopus", rate=48_000)
    else:
        soundfile.write(one, noise, RATE)
    two = tmp_path / f"two.{ext}"
    two.write_bytes(one.read_bytes() * 4)
    read, _ = _read(two)
    assert 3.9 * FRAMES < len(read) < 4.1 * FRAMES


def test_a_film_whose_sound_ends_before_it_is_not_cut_off(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """The container's duration is that of the picture."""
    path = tmp_path / "film.mkv"
    write(path, noise, "flac", pictures=200)
    read, warning = _read(path)
    assert len(read) == FRAMES
    assert warning == ""
    with Decoder(path) as source:
        assert source.info.frames is None or abs(source.info.frames - FRAMES) < RATE / 100


def test_damage_within_a_stretch_is_told(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Also where the end of the file is not looked at; and a first packet keeps its place."""
    path = tmp_path / "a.m4a"
    write(path, noise, "alac", sample_format="s16p")
    whole, _ = _read(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 8
    data[at : at + 3_000] = bytes(3_000)
    path.write_bytes(data)
    with Decoder(path, duration_seconds=2.0) as source:
        read = np.concatenate(list(source.blocks()))
        loss = source.loss()
    assert loss is not None
    assert "missing at 0:00.00" in loss.text
    np.testing.assert_array_equal(read[20_000:], whole[20_000 : len(read)])
    assert not np.any(read[:4_000])


@pytest.mark.parametrize("container", ["WAV", "W64", "AIFF"])
def test_a_cut_surround_file_is_told(tmp_path: Path, container: str) -> None:
    """As with two channels: by libsndfile, which knows what its header says."""
    path = tmp_path / "six"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 6))
    soundfile.write(path, noise, RATE, format=container, subtype="PCM_24")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read, warning = _read(path)
    assert 0.45 * RATE < len(read) < 0.55 * RATE
    assert "missing at the end" in warning
    with Decoder(path) as source:
        assert source.channels == USUAL[6]


def test_a_start_at_the_very_end_is_no_damage(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """The sentence names the end."""
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, RATE)
    for start in (FRAMES / RATE, FRAMES / RATE + 0.2):
        with (
            pytest.raises(BadInputError, match=r"ends at 2\.27 s"),
            Decoder(path, start_seconds=start) as source,
        ):
            list(source.blocks())


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    """A header of 8 samples a second would make gigabytes of a small file."""
    path = tmp_path / "slow.wav"
    soundfile.write(path, np.zeros(1_000), 8)
    with pytest.raises(BadInputError, match="8 samples a second"):
        _read(path)
