"""Quantising, writing and verifying stems."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stemsplit.audio.channels import DEFAULT_LAYOUTS
from stemsplit.audio.decode import Decoder
from stemsplit.audio.disk_writes import explain_write_error
from stemsplit.audio.quantise import quantise
from stemsplit.audio.sample_writers import container_of
from stemsplit.audio.stem_writer import StemWriter, gain_for
from stemsplit.audio.tagging.copy_tags import SourceTags
from stemsplit.audio.write_format import WriteFormat
from stemsplit.core.errors import DiskFullError, StemsplitError, UnwritableError
from stemsplit.core.format_rates import LOSSY, stem_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from stemsplit.core.settings import StemFormat


def _writer(
    folder: Path, *, seed: int = 0, channels: Sequence[str] = ("FL", "FR"), **form: object
) -> StemWriter:
    return StemWriter(
        folder,
        "vocals",
        WriteFormat(**form),  # type: ignore[arg-type]
        expected_frames=1,
        channels=channels,
        seed=seed,
    )


@given(st.floats(-1.5, 1.5, width=32), st.sampled_from([16, 24]))
def test_samples_are_rounded_to_the_nearest_step_and_clamped(sample: float, bits: int) -> None:
    """A sample becomes the nearest step of the bit depth, or full scale if it exceeds it."""
    steps, clipped = quantise(np.array([sample], np.float32), bits)
    scale = 2 ** (bits - 1)
    value = int(steps[0]) >> (32 - bits)
    exact = float(np.float32(sample)) * scale
    assert value == min(max(round(exact), -scale), scale - 1)
    assert clipped == (abs(np.float32(sample)) > 1)


@pytest.mark.parametrize(
    ("stem_format", "bit_depth"),
    [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("flac", "16"), ("flac", "24")],
)
def test_a_round_trip_keeps_the_samples(tmp_path: Path, stem_format: str, bit_depth: str) -> None:
    """The error is at most half a step in every format and bit depth."""
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


def test_clamped_samples_are_counted(tmp_path: Path) -> None:
    """Samples beyond full scale are clamped, never wrapped around."""
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
def test_a_wav_above_4_gib_is_rf64(stem_format: StemFormat, frames: int, container: str) -> None:
    """A plain WAV file stores its size in 32 bits."""
    assert container_of(WriteFormat(format=stem_format), frames, 2) == container


def test_samples_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    """An engine that produces NaN causes an error, not a stem."""
    writer = _writer(tmp_path)
    with pytest.raises(StemsplitError, match="non-finite samples"):
        writer.write(np.array([[np.nan, 0]], np.float32))


def test_a_file_that_lost_frames_is_an_error(tmp_path: Path) -> None:
    """The header is read back after writing."""
    writer = _writer(tmp_path)
    writer.write(np.zeros((100, 2), np.float32))
    writer._frames += 1
    with pytest.raises(UnwritableError, match="100 of 101 frames"):
        writer.finish()


def test_a_missing_folder_is_unwritable(tmp_path: Path) -> None:
    """The error contains the reason from the system."""
    with pytest.raises(UnwritableError, match="No such file"):
        _writer(tmp_path / "absent")


def test_a_full_disk_is_distinguished_from_other_errors(tmp_path: Path) -> None:
    """ENOSPC from any source is a full disk; other errors are not."""
    full = explain_write_error(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, DiskFullError)
    other = explain_write_error(tmp_path, OSError(errno.EIO, "Input/output error"))
    assert isinstance(other, UnwritableError)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_when_it_is_checked_is_reported_as_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Also if a quota is exceeded, which the free space of the disk does not show."""
    (tmp_path / "vocals.wav").write_bytes(b"half a stem")

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    failed_write = soundfile.LibsndfileError(2)
    assert type(explain_write_error(tmp_path, failed_write)) is DiskFullError


def test_a_disk_that_was_full_for_a_moment_is_reported_as_full(tmp_path: Path) -> None:
    """Libsndfile names no reason; another child's files may be removed before the disk is checked.

    A file that cannot be opened, and a folder that is gone, are other faults.
    """
    failed_write = soundfile.LibsndfileError(2)
    assert type(explain_write_error(tmp_path, failed_write)) is UnwritableError
    (tmp_path / "vocals.wav").write_bytes(b"half a stem")
    assert type(explain_write_error(tmp_path, failed_write)) is DiskFullError
    failed_open = soundfile.LibsndfileError(2, "Error opening 'drums.wav': ")
    assert type(explain_write_error(tmp_path, failed_open)) is UnwritableError


def test_dither_makes_the_rounding_error_independent_of_the_signal() -> None:
    """The error of a quiet tone at 16 bits is white, has no mean, and no trace of the tone.

    With TPDF dither the power of the total error is a quarter of a step squared for any signal, and
    its spectrum is flat (Lipshitz et al., 1992). Without dither, the error of the same tone has
    lines at its harmonics.
    """
    frames = 1 << 18
    tone = 3.3 * 2.0**-15 * np.sin(2 * np.pi * 997 * np.arange(frames) / 44_100)
    samples = np.asarray(tone, np.float32)
    step = 2.0**-15

    def error(random: np.random.Generator | None) -> NDArray[np.float64]:
        steps, _ = quantise(samples, 16, random)
        return (steps >> 16).astype(np.float64) - samples.astype(np.float64) / step

    plain, dithered = error(None), error(np.random.Generator(np.random.SFC64(0)))
    assert abs(np.mean(dithered)) < 4 * 0.5 / np.sqrt(frames)
    assert np.var(dithered) == pytest.approx(0.25, rel=0.02)
    assert abs(np.corrcoef(dithered, samples)[0, 1]) < 4 / np.sqrt(frames)
    # The first two moments do not depend on the position of the signal within a step.
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
    assert loudest_line(plain) > 1_000, "without dither the spectrum has lines"


def test_dither_noise_depends_on_the_seed_alone(tmp_path: Path) -> None:
    """A repeated track has identical files, and its stems have no noise in common."""
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
    """The padding of the encoder is not decoded, also with tags."""
    rate = stem_rate(stem_format, 44_100, 44_100)
    noise = np.random.default_rng(0).normal(0, 0.1, (frames, 2)).astype(np.float32)
    writer = _writer(tmp_path, format=stem_format, sample_rate=rate)
    for first in range(0, frames, 30_000):
        writer.write(noise[first : first + 30_000])
    stem, problem = writer.finish(SourceTags({"title": "Song", "artist": "Some"}, "song"))
    assert problem == ""
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
def test_the_requested_bit_rate_is_used(tmp_path: Path, stem_format: StemFormat) -> None:
    """Within a third, the usual deviation of a variable bit rate; lower rates are smaller."""
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


def test_rescale_applies_one_gain_to_all_stems(tmp_path: Path) -> None:
    """The gain follows from the highest peak; no sample is clamped, and the balance is kept."""
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
        assert list(writer.apply_gain(gain)) == [None]
        stem, _ = writer.finish()
        assert (stem.clipped_samples, stem.gain) == (0, gain)
        read, _ = soundfile.read(tmp_path / str(number) / "vocals.wav")
        np.testing.assert_allclose(read, loud * scale * gain, atol=1e-7)
        assert len(list((tmp_path / str(number)).iterdir())) == 1, "the temporary file is removed"
    assert gain_for(0.9) == 1.0


@pytest.mark.parametrize(("clip", "expected", "count"), [("none", 1.5, 0), ("clamp", 1.0, 1)])
def test_floating_point_keeps_samples_beyond_full_scale_unless_clamped(
    tmp_path: Path, clip: str, expected: float, count: int
) -> None:
    """Only clamped samples are counted."""
    writer = _writer(tmp_path, bit_depth="32f", clip=clip)
    writer.write(np.array([[1.5, -0.5]], np.float32))
    stem, _ = writer.finish()
    read, _ = soundfile.read(tmp_path / "vocals.wav")
    np.testing.assert_array_equal(read, [[expected, -0.5]])
    assert stem.clipped_samples == count


def test_a_full_disk_is_reported_for_lossy_files(
    mount: Callable[[str], Path], tmp_path: Path
) -> None:
    """The encoder's library fails in various ways; the error is always the same."""
    del tmp_path
    disk = mount("1m")
    writer = _writer(disk, format="m4a", bit_rate=256_000)
    noise = np.random.default_rng(0).normal(0, 0.1, (44_100, 2)).astype(np.float32)

    def write_two_minutes() -> None:
        for _ in range(120):
            writer.write(noise)
        writer.finish()

    with pytest.raises(DiskFullError):
        write_two_minutes()
    writer.abandon()


@pytest.mark.parametrize("bit_depth", ["16", "24", "32f"])
@pytest.mark.parametrize("stem_format", ["wav", "flac"])
@pytest.mark.parametrize(
    "channels",
    [
        DEFAULT_LAYOUTS[6],
        DEFAULT_LAYOUTS[8],
        ("FL", "FR", "FC", "LFE"),
        ("FL", "FR", "FC", "LFE", "SL", "SR"),
    ],
    ids=len,
)
def test_surround_channels_are_written_with_their_names(
    tmp_path: Path, stem_format: str, bit_depth: str, channels: tuple[str, ...]
) -> None:
    """Samples and names are kept, also in layouts that are not the default."""
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


def test_the_waveform_overview_contains_the_peak_of_each_part(tmp_path: Path) -> None:
    """The result does not depend on the sizes of the blocks."""
    level = np.concatenate([np.zeros(300_000), np.full(300_000, 0.5), np.full(300_000, 1.2)])
    samples = np.stack([np.zeros_like(level), -level], axis=1).astype(np.float32)
    overviews = []
    for name, size in (("small", 997), ("large", 65_536)):
        (tmp_path / name).mkdir()
        writer = _writer(tmp_path / name)
        for first in range(0, len(samples), size):
            writer.write(samples[first : first + size])
        overviews.append(writer.finish()[0].waveform_overview)
    assert overviews[0] == overviews[1]
    assert 200 < len(overviews[0]) <= 400
    third = len(overviews[0]) / 3
    assert set(overviews[0][: int(third)]) == {0}
    assert set(overviews[0][int(third) + 1 : int(2 * third)]) == {128}
    assert set(overviews[0][int(2 * third) + 1 :]) == {255}
