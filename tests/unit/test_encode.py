"""Quantising, writing and checking stems."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio import encode
from stemsplit.audio.channels import USUAL
from stemsplit.audio.decode import Decoder
from stemsplit.audio.encode import gain_for
from stemsplit.audio.tagging.copy_tags import SourceTags
from stemsplit.audio.write_format import WriteFormat
from stemsplit.audio.writers import container_of
from stemsplit.core.errors import DiskFullError, StemsplitError, UnwritableError
from stemsplit.core.formats import LOSSY, stem_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.core.settings import StemFormat


def _writer(
    folder: Path, *, seed: int = 0, channels: Sequence[str] = ("FL", "FR"), **form: object
) -> encode.StemWriter:
    return encode.StemWriter(
        folder,
        "vocals",
        WriteFormat(**form),  # type: ignore[arg-type]
        expected_frames=1,
        channels=channels,
        seed=seed,
    )


@given(st.floats(-1.5, 1.5, width=32), st.sampled_from([16, 24]))
def test_rounds_to_the_nearest_step_and_clamps(sample: float, bits: int) -> None:
    """A sample becomes the nearest of the depth's steps, or full scale where it is beyond it."""
    steps, clipped = encode.quantise(np.array([sample], np.float32), bits)
    scale = 2 ** (bits - 1)
    value = int(steps[0]) >> (32 - bits)
    exact = float(np.float32(sample)) * scale
    assert value == min(max(round(exact), -scale), scale - 1)
    assert clipped == (abs(np.float32(sample)) > 1)


@pytest.mark.parametrize(
    ("stem_format", "bit_depth"),
    [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24")],
)
def test_what_was_written_is_read_back(tmp_path: Path, stem_format: str, bit_depth: str) -> None:
    """Every format and depth that go together keep the samples to half a step."""
    samples = np.random.default_rng(1).uniform(-0.9, 0.9, (5_000, 2)).astype(np.float32)
    writer = _writer(tmp_path, format=stem_format, bit_depth=bit_depth)
    writer.write(samples[:3_000])
    writer.write(samples[3_000:])
    stem, _ = writer.finish()
    read, rate = soundfile.read(tmp_path / f"vocals.{stem_format}", dtype="float64")
    assert rate == 44_100
    half_a_step = {"16": 2.0**-16, "24": 2.0**-24, "32f": 0.0}[bit_depth]
    assert np.max(np.abs(read - samples)) <= half_a_step
    assert abs(np.mean(read - samples)) <= half_a_step / 20, "rounding must not shift the signal"
    assert (stem.frames, stem.clipped_samples) == (5_000, 0)
    assert stem.peak == pytest.approx(np.max(np.abs(samples)))


def test_counts_what_it_clamps(tmp_path: Path) -> None:
    """Samples beyond full scale are clamped, never wrapped round, and counted."""
    writer = _writer(tmp_path, bit_depth="16")
    writer.write(np.array([[1.5, -1.5], [0.5, 1.0]], np.float32))
    stem, _ = writer.finish()
    read, _ = soundfile.read(tmp_path / "vocals.wav", dtype="int16")
    np.testing.assert_array_equal(read, [[32767, -32768], [16384, 32767]])
    assert stem.clipped_samples == 2, "1.0 is full scale, and not beyond it"
    assert stem.peak == 1.5


@pytest.mark.parametrize(
    ("stem_format", "frames", "container"),
    [("wav", 10**6, "WAV"), ("wav", 800_000_000, "RF64"), ("flac", 800_000_000, "FLAC")],
)
def test_a_wav_past_4_gib_is_rf64(stem_format: StemFormat, frames: int, container: str) -> None:
    """A plain WAV counts its bytes in 32 bits; past that, RF64 is chosen."""
    assert container_of(WriteFormat(format=stem_format), frames, 2) == container


def test_samples_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    """An engine that produces NaN is an error, not a stem."""
    writer = _writer(tmp_path)
    with pytest.raises(StemsplitError, match="not finite"):
        writer.write(np.array([[np.nan, 0]], np.float32))


def test_a_shorter_file_than_was_written_is_an_error(tmp_path: Path) -> None:
    """The header is read back: a file that lost frames on the way does not pass."""
    writer = _writer(tmp_path)
    writer.write(np.zeros((100, 2), np.float32))
    writer._frames += 1
    with pytest.raises(UnwritableError, match="100 of 101 frames"):
        writer.finish()


def test_a_folder_that_is_not_there_is_unwritable(tmp_path: Path) -> None:
    """The sentence names the system's reason."""
    with pytest.raises(UnwritableError, match="No such file"):
        _writer(tmp_path / "absent")


def test_no_space_is_told_apart(tmp_path: Path) -> None:
    """ENOSPC is a full disk, whatever raised it; anything else is not."""
    full = encode.write_error(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, DiskFullError)
    other = encode.write_error(tmp_path, OSError(errno.EIO, "Input/output error"))
    assert isinstance(other, UnwritableError)


def test_dither_makes_the_error_noise_that_knows_nothing_of_the_signal() -> None:
    """A soft tone at 16 bits: white, triangular, without a mean, and not a trace of the tone in it.

    The total error of a TPDF dither has a quarter of a step squared of power, whatever the signal,
    and so has each part of its spectrum (Lipshitz et al., 1992). Without dither the error of the
    same tone has lines at its harmonics.
    """
    frames = 1 << 18
    tone = 3.3 * 2.0**-15 * np.sin(2 * np.pi * 997 * np.arange(frames) / 44_100)
    samples = np.asarray(tone, np.float32)
    step = 2.0**-15

    def error(random: np.random.Generator | None) -> NDArray[np.float64]:
        steps, _ = encode.quantise(samples, 16, random)
        return (steps >> 16).astype(np.float64) - samples.astype(np.float64) / step

    plain, dithered = error(None), error(np.random.Generator(np.random.SFC64(0)))
    assert abs(np.mean(dithered)) < 4 * 0.5 / np.sqrt(frames)
    assert np.var(dithered) == pytest.approx(0.25, rel=0.02)
    assert abs(np.corrcoef(dithered, samples)[0, 1]) < 4 / np.sqrt(frames)
    # The first two moments do not move with the signal, on whichever part of a step it lies.
    phase = np.mod(samples / step, 1.0)
    for low in np.arange(0, 1, 0.1):
        part = dithered[(phase >= low) & (phase < low + 0.1)]
        assert abs(np.mean(part)) < 5 * 0.5 / np.sqrt(len(part))
        assert np.var(part) == pytest.approx(0.25, rel=0.1)

    def bands(values: NDArray[np.float64]) -> NDArray[np.float64]:
        power = np.abs(np.fft.rfft(values * np.hanning(frames))) ** 2
        return np.array([np.mean(band) for band in np.split(power[1 : 1 + 500 * 256], 256)])

    def loudest_line(values: NDArray[np.float64]) -> float:
        power = np.abs(np.fft.rfft(values * np.hanning(frames))) ** 2
        return float(np.max(power) / np.mean(power))

    flat = bands(dithered)
    assert np.max(np.abs(10 * np.log10(flat / np.mean(flat)))) < 1.5, "white"
    assert loudest_line(dithered) < 30, "no line"
    assert loudest_line(plain) > 1_000, "without dither there are lines"


def test_the_noise_is_the_same_each_time_and_another_for_each_stem(tmp_path: Path) -> None:
    """So that a track that is done again has the same files, and stems no common noise."""
    silence = np.zeros((1_000, 2), np.float32)
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        folder.mkdir()
        writer = _writer(folder, bit_depth="16", dither=True, seed=seed)
        writer.write(silence)
        writer.finish()
        files.append((folder / "vocals.wav").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("stem_format", sorted(LOSSY))
@pytest.mark.parametrize("frames", [1, 1_200, 100_003])
def test_lossy_files_have_the_frames_and_the_rate_that_were_written(
    tmp_path: Path, stem_format: StemFormat, frames: int
) -> None:
    """Gapless: what the encoder adds does not come out again; tags do not hurt."""
    rate = stem_rate(stem_format, 44_100, 44_100)
    noise = np.random.default_rng(0).normal(0, 0.1, (frames, 2)).astype(np.float32)
    writer = _writer(tmp_path, format=stem_format, sample_rate=rate)
    for first in range(0, frames, 30_000):
        writer.write(noise[first : first + 30_000])
    stem, complaint = writer.finish(SourceTags({"title": "Song", "artist": "Some"}, "song"))
    assert complaint == ""
    surplus = 46 if (stem_format, frames) == ("mp3", 1) else 0
    assert (stem.frames, stem.sample_rate) == (frames + surplus, rate)
    with Decoder(tmp_path / f"vocals.{stem_format}") as written:
        read = np.concatenate(list(written.blocks()))
        assert written.info.sample_rate == rate
    assert len(read) - frames == surplus
    if frames > 50_000:
        lags = [
            np.sum(read[5_000 + lag : 45_000 + lag] * noise[5_000:45_000]) for lag in (-1, 0, 1)
        ]
        assert int(np.argmax(lags)) == 1, "not shifted"


@pytest.mark.parametrize("stem_format", sorted(LOSSY))
def test_a_bit_rate_that_is_asked_for_is_kept(tmp_path: Path, stem_format: StemFormat) -> None:
    """Within a third, which is what codecs with a variable rate do; lower is smaller."""
    rate = stem_rate(stem_format, 44_100, 44_100)
    noise = np.random.default_rng(0).normal(0, 0.1, (5 * rate, 2)).astype(np.float32)
    sizes = []
    for bit_rate in (96_000, 192_000):
        folder = tmp_path / str(bit_rate)
        folder.mkdir()
        writer = _writer(folder, format=stem_format, sample_rate=rate, bit_rate=bit_rate)
        writer.write(noise)
        writer.finish()
        size = (folder / f"vocals.{stem_format}").stat().st_size
        assert size * 8 / 5 == pytest.approx(bit_rate, rel=0.6 if stem_format == "ogg" else 0.33)
        sizes.append(size)
    assert sizes[0] < 0.75 * sizes[1]


def test_what_would_clip_is_made_quieter_together(tmp_path: Path) -> None:
    """`rescale` waits for the peak of all stems; none is clamped, and all keep their balance."""
    loud = np.array([[2.0, -1.0], [0.5, 0.25]], np.float32)
    writers = []
    for number, scale in enumerate((1.0, 0.25)):
        folder = tmp_path / str(number)
        folder.mkdir()
        writers.append(_writer(folder, bit_depth="24", clip="rescale"))
        writers[-1].write(loud * np.float32(scale))
    gain = gain_for(max(writer.peak for writer in writers))
    assert 0.49 < gain < 0.5
    for number, (writer, scale) in enumerate(zip(writers, (1.0, 0.25), strict=True)):
        assert list(writer.level(gain)) == [None]
        stem, _ = writer.finish()
        assert (stem.clipped_samples, stem.gain) == (0, gain)
        read, _ = soundfile.read(tmp_path / str(number) / "vocals.wav")
        np.testing.assert_allclose(read, loud * scale * gain, atol=1e-7)
        assert len(list((tmp_path / str(number)).iterdir())) == 1, "what waited is gone"
    assert gain_for(0.9) == 1.0


@pytest.mark.parametrize(("clip", "expected", "count"), [("none", 1.5, 0), ("clamp", 1.0, 1)])
def test_floating_point_keeps_what_is_beyond_full_scale_unless_told(
    tmp_path: Path, clip: str, expected: float, count: int
) -> None:
    """Both ways, with the count."""
    writer = _writer(tmp_path, bit_depth="32f", clip=clip)
    writer.write(np.array([[1.5, -0.5]], np.float32))
    stem, _ = writer.finish()
    read, _ = soundfile.read(tmp_path / "vocals.wav")
    np.testing.assert_array_equal(read, [[expected, -0.5]])
    assert stem.clipped_samples == count


def test_a_lossy_file_on_a_full_disk_is_told(mount: Callable[[str], Path], tmp_path: Path) -> None:
    """The encoder's library reports it somewhere; a person is told which disk."""
    del tmp_path
    disk = mount("1m")
    writer = _writer(disk, format="m4a", bit_rate=256_000)
    noise = np.random.default_rng(0).normal(0, 0.1, (44_100, 2)).astype(np.float32)

    def write_minutes() -> None:
        for _ in range(120):
            writer.write(noise)
        writer.finish()

    with pytest.raises(DiskFullError):
        write_minutes()
    writer.abandon()


@pytest.mark.parametrize("bit_depth", ["16", "24", "32f"])
@pytest.mark.parametrize("stem_format", ["wav", "flac"])
@pytest.mark.parametrize(
    "channels",
    [USUAL[6], USUAL[8], ("FL", "FR", "FC", "LFE"), ("FL", "FR", "FC", "LFE", "SL", "SR")],
    ids=len,
)
def test_surround_channels_are_written_with_their_names(
    tmp_path: Path, stem_format: str, bit_depth: str, channels: tuple[str, ...]
) -> None:
    """Every sample, and which channel is which, also where it is not the usual one."""
    if (stem_format, bit_depth) == ("flac", "32f"):
        return
    steps = np.random.default_rng(0).integers(-9_000, 9_000, (10_000, len(channels)))
    samples = (steps / 2**15).astype(np.float32)
    writer = _writer(tmp_path, format=stem_format, bit_depth=bit_depth, channels=channels)
    writer.write(samples)
    writer.finish()
    with Decoder(tmp_path / f"vocals.{stem_format}") as written:
        np.testing.assert_array_equal(np.concatenate(list(written.blocks())), samples)
        assert written.channels == channels
        assert written.info.bits == {"16": 16, "24": 24, "32f": 32}[bit_depth]


def test_outline_follows_the_levels(tmp_path: Path) -> None:
    """However the blocks fall, each part of the outline is the peak of its part of the file."""
    level = np.concatenate([np.zeros(300_000), np.full(300_000, 0.5), np.full(300_000, 1.2)])
    samples = np.stack([np.zeros_like(level), -level], axis=1).astype(np.float32)
    outlines = []
    for name, size in (("small", 997), ("large", 65_536)):
        (tmp_path / name).mkdir()
        writer = _writer(tmp_path / name)
        for first in range(0, len(samples), size):
            writer.write(samples[first : first + size])
        outlines.append(writer.finish()[0].waveform_overview)
    assert outlines[0] == outlines[1]
    assert 200 < len(outlines[0]) <= 400
    third = len(outlines[0]) / 3
    assert set(outlines[0][: int(third)]) == {0}
    assert set(outlines[0][int(third) + 1 : int(2 * third)]) == {128}
    assert set(outlines[0][int(2 * third) + 1 :]) == {255}
