"""Files that libsndfile cannot read: samples, lengths, channels and damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import soundfile
from audio_files import write_libav

from stemsplit.audio.av_frames import samples_of
from stemsplit.audio.channels import DEFAULT_LAYOUTS
from stemsplit.audio.decode import Decoder
from stemsplit.core.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRAMES, RATE = 100_003, 44_100


@pytest.fixture(scope="module")
def noise() -> NDArray[np.float32]:
    """Noise in steps of 16 bits, which no codec can predict."""
    steps = np.random.default_rng(0).integers(-8_000, 8_000, (FRAMES, 2))
    return (steps / 2**15).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32], codec: str, **options: Any) -> None:  # noqa: ANN401 - the options of either writer
    """Write a file with libsndfile, or with an encoder of FFmpeg if `codec` is not empty."""
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
def test_lossless_codecs_are_decoded_exactly(
    tmp_path: Path, noise: NDArray[np.float32], name: str, codec: str, sample_format: str
) -> None:
    """The samples are the same in every container."""
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
def test_gapless_files_have_the_encoded_length(
    tmp_path: Path, noise: NDArray[np.float32], name: str, codec: str, rate: int
) -> None:
    """The padding of the encoder is removed exactly."""
    path = tmp_path / name
    options = {"movie_timescale": str(rate)} if name.startswith("exact") else {}
    write(path, noise, codec, rate=rate, **options)
    read, warning = _read(path)
    assert len(read) == FRAMES
    assert warning == ""
    # The noise is not shifted either.
    lags = [
        float(np.sum(read[1000 + lag : 9000 + lag] * noise[1000:9000])) for lag in range(-9, 10)
    ]
    assert int(np.argmax(lags)) == 9


def test_the_length_in_itunsmpb_counts(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Apple's tag `iTunSMPB` declares the number of samples, even without an edit list."""
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
    """The layout is read from the file, and the order is kept."""
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
    """The WAV file is read by libsndfile, and the MOV file by FFmpeg."""
    soundfile.write(tmp_path / "double.wav", noise, RATE, subtype="DOUBLE")
    write(tmp_path / "double.mov", noise, "pcm_f64le")
    for name in ("double.wav", "double.mov"):
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
    """The lowest step becomes -1 and zero becomes 0, in packed and planar formats."""
    zero = 128 if dtype is np.uint8 else 0
    values = np.array([[zero - full, zero - full], [zero, zero], [zero + full // 2, zero]])
    shaped = values.T if sample_format.endswith("p") else values.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(shaped.astype(dtype)), format=sample_format, layout="stereo"
    )
    np.testing.assert_array_equal(samples_of(frame), np.array([[-1, -1], [0, 0], [0.5, 0]]))


def test_a_truncated_mp4_has_a_warning(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Its index is at the start, so 60 % of the file can be decoded."""
    path = tmp_path / "a.m4a"
    write(path, noise, "aac", movflags="faststart")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    read, warning = _read(path)
    assert 0.4 * FRAMES < len(read) < 0.7 * FRAMES
    assert "missing at the end" in warning


def test_an_mp4_without_its_index_is_refused(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """By default the index is at the end; without it nothing can be decoded."""
    path = tmp_path / "a.m4a"
    write(path, noise, "aac")
    path.write_bytes(path.read_bytes()[:-5_000])
    with pytest.raises(BadInputError, match="is truncated: the index at its end"):
        _read(path)


def test_a_damaged_packet_becomes_silence_of_its_length(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """The samples after it are not shifted, and the warning gives its position."""
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


def test_a_video_without_audio_and_a_playlist_are_refused(tmp_path: Path) -> None:
    """A playlist would lead to other files."""
    soundfile.write(tmp_path / "other.wav", np.zeros((1000, 2)), RATE)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path / 'other.wav'}\n#EXT-X-ENDLIST\n"
    )
    video = tmp_path / "silent.mkv"
    output: Any = av.open(str(video), "w")
    stream = output.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
    output.mux(stream.encode(None))
    output.close()
    with pytest.raises(BadInputError, match="has no audio track"):
        _read(video)
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
def test_an_excerpt_has_the_samples_of_the_whole_file(
    tmp_path: Path,
    noise: NDArray[np.float32],
    name: str,
    codec: str,
    start: float,
    duration: float | None,
) -> None:
    """Start and end are rounded to the nearest sample in every format; there is no warning."""
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
def test_a_start_after_the_end_is_an_error(
    tmp_path: Path, noise: NDArray[np.float32], name: str, codec: str
) -> None:
    """The length may be known only after decoding."""
    path = tmp_path / name
    write(path, noise, codec)
    with (
        pytest.raises(BadInputError, match=r"ends at 2\.\d+ s, before the 5\.00 s"),
        Decoder(path, start_seconds=5.0) as source,
    ):
        list(source.blocks())


@pytest.mark.parametrize("ext", ["ogg", "opus", "mp3"])
def test_concatenated_files_are_read_to_the_end(
    tmp_path: Path, noise: NDArray[np.float32], ext: str
) -> None:
    """`cat` and radio recorders produce such files; libsndfile stops after the first part."""
    single = tmp_path / f"single.{ext}"
    if ext == "opus":
        write(single, noise, "libopus", rate=48_000)
    else:
        soundfile.write(single, noise, RATE)
    concatenated = tmp_path / f"concatenated.{ext}"
    concatenated.write_bytes(single.read_bytes() * 4)
    read, _ = _read(concatenated)
    assert 3.9 * FRAMES < len(read) < 4.1 * FRAMES


def test_a_video_that_is_longer_than_its_audio_is_not_cut_off(
    tmp_path: Path, noise: NDArray[np.float32]
) -> None:
    """The container declares the duration of the video."""
    path = tmp_path / "video.mkv"
    write(path, noise, "flac", pictures=200)
    read, warning = _read(path)
    assert len(read) == FRAMES
    assert warning == ""
    with Decoder(path) as source:
        assert source.info.frames is None or abs(source.info.frames - FRAMES) < RATE / 100


def test_damage_within_an_excerpt_is_reported(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """The end of the file is not read; a damaged first packet becomes silence."""
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
def test_a_truncated_surround_file_has_a_warning(tmp_path: Path, container: str) -> None:
    """The header declares its length."""
    path = tmp_path / "six"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 6))
    soundfile.write(path, noise, RATE, format=container, subtype="PCM_24")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read, warning = _read(path)
    assert 0.45 * RATE < len(read) < 0.55 * RATE
    assert "missing at the end" in warning
    with Decoder(path) as source:
        assert source.channels == DEFAULT_LAYOUTS[6]


def test_a_start_at_the_end_is_an_error(tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """The error gives the time of the end."""
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, RATE)
    for start in (FRAMES / RATE, FRAMES / RATE + 0.2):
        with (
            pytest.raises(BadInputError, match=r"ends at 2\.27 s"),
            Decoder(path, start_seconds=start) as source,
        ):
            list(source.blocks())


def test_absurd_sample_rates_are_refused(tmp_path: Path) -> None:
    """Resampled from 8 Hz, a small file would become gigabytes."""
    path = tmp_path / "slow.wav"
    soundfile.write(path, np.zeros(1_000), 8)
    with pytest.raises(BadInputError, match="sample rate of 8 Hz"):
        _read(path)
