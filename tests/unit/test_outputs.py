"""The samples of output files, with separations whose correct output is known."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from audio_files import write_libav
from share_engine import ShareEngine, four_shares

from stemsplit.audio.decode import Decoder
from stemsplit.audio.fft import fastest_transform
from stemsplit.audio.quantise import quantise
from stemsplit.audio.resample import RateConverter, resample
from stemsplit.child.outputs import (
    STEPS_PER_UNIT,
    Residual,
    converted_blocks,
    rounded_to_grid,
    stem_blocks,
)
from stemsplit.child.separation import separate
from stemsplit.core.format_rates import frames_at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.outputs import StemSegments

FRAMES = 700_003


def _third_and_fifth(blocks: Iterable[NDArray[np.float32]]) -> StemSegments:
    """Separate a mix into a third and a fifth of it, in segments of 300,000 frames."""
    mix = np.concatenate([np.empty((0, 2), np.float32), *blocks])
    for first in range(0, len(mix), 300_000):
        segment = mix[first : first + 300_000]
        yield iter([(segment / np.float32(3), segment * np.float32(0.2))])


def _file(folder: Path, rate: int, subtype: str, channels: int = 2) -> Path:
    noise = np.random.default_rng(rate).uniform(-0.9, 0.9, (FRAMES, channels))
    path = folder / "noise.wav"
    soundfile.write(path, noise, rate, subtype=subtype)
    return path


def _stems(path: Path, *, sample_rate: int, residual: bool = False) -> list[NDArray[np.float32]]:
    with Decoder(path) as source:
        blocks = stem_blocks(
            source,
            _third_and_fifth,
            stems=2,
            sample_rate=sample_rate,
            residual=Residual(source.info.sample_rate, sample_rate, clamped=False)
            if residual
            else None,
        )
        return [np.concatenate(stem) for stem in zip(*blocks, strict=True)]


def _mix(path: Path, *, sample_rate: int, channels: int = 2) -> NDArray[np.float32]:
    with Decoder(path) as source:
        blocks = converted_blocks(
            source, sample_rate=sample_rate, channels=channels, on_block=lambda: None
        )
        return np.concatenate([block for (block,) in blocks])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_stems_at_the_rate_of_the_source_have_its_length(tmp_path: Path, rate: int) -> None:
    """They are not shifted, and lose only frequencies above those of the model's rate."""
    path = _file(tmp_path, rate, "PCM_24")
    third, _ = _stems(path, sample_rate=rate)
    assert len(third) == FRAMES
    if rate <= 44_100:
        source, _ = soundfile.read(path, dtype="float32")
        middle = slice(10_000, -10_000)
        power = np.mean((third[middle] - source[middle] / 3) ** 2) / np.mean(source**2 / 9)
        assert power < 0.1, "only what is above the pass band of the converter is missing"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize(("rate", "out"), [(44_100, 44_100), (48_000, 48_000), (44_100, 48_000)])
def test_stems_and_residual_sum_exactly_to_the_mix(
    tmp_path: Path, subtype: str, rate: int, out: int
) -> None:
    """The sum in float32 is exact in any order; a finer mix is rounded to 24 bits."""
    path = _file(tmp_path, rate, subtype)
    third, fifth, residual = _stems(path, sample_rate=out, residual=True)
    mix = _mix(path, sample_rate=out)
    np.testing.assert_array_equal(third + fifth + residual, rounded_to_grid(mix))
    np.testing.assert_array_equal(residual + (fifth + third), rounded_to_grid(mix))
    if subtype != "FLOAT" and rate == out:
        np.testing.assert_array_equal(third + fifth + residual, mix)


RATES = (8_000, 44_100, 48_000, 96_000, 192_000)
STREAMS = [
    *itertools.product(RATES, RATES, (0.7, 3.0)),
    # More than one segment; its output is resampled once more, whatever the source was.
    *((rate, 44_100, 13.0) for rate in RATES),
    *((44_100, rate, 13.0) for rate in RATES[2:]),
]


@pytest.mark.parametrize(("rate", "out", "seconds"), STREAMS)
def test_stems_and_residual_of_a_stream_sum_exactly_to_the_mix(
    tmp_path: Path, rate: int, out: int, seconds: float
) -> None:
    """The sum has the right length, for any sample rates and any number of segments."""
    noise = np.random.default_rng(rate).uniform(-0.5, 0.5, (round(seconds * rate), 2))
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, rate, subtype="PCM_16")

    def separation(blocks: Iterable[NDArray[np.float32]]) -> StemSegments:
        return separate(
            blocks, four_shares(), fastest_transform(), stems=("a", "c"), overlapped=seconds > 1
        )

    with Decoder(path) as source:
        blocks = stem_blocks(
            source,
            separation,
            stems=2,
            sample_rate=out,
            residual=Residual(rate, out, clamped=False),
        )
        first, second, residual = (np.concatenate(stem) for stem in zip(*blocks, strict=True))
    mix = _mix(path, sample_rate=out)
    np.testing.assert_array_equal(first + second + residual, rounded_to_grid(mix))
    assert len(mix) == frames_at(len(noise), rate, out)


def test_a_residual_compensates_for_clamping(tmp_path: Path) -> None:
    """The sum of the clamped stems and the residual is the mix."""
    path = _file(tmp_path, 44_100, "PCM_16")

    def loud(blocks: Iterable[NDArray[np.float32]]) -> StemSegments:
        for block in blocks:
            yield iter([(block * np.float32(1.7),)])

    with Decoder(path) as source:
        blocks = stem_blocks(
            source,
            loud,
            stems=1,
            sample_rate=44_100,
            residual=Residual(44_100, 44_100, clamped=True),
        )
        stem, residual = map(np.concatenate, zip(*blocks, strict=True))
    mix, _ = soundfile.read(path, dtype="float32")
    steps, clipped = quantise(stem, 24)
    assert clipped > 0
    written = (steps >> 8).astype(np.float32) / STEPS_PER_UNIT
    np.testing.assert_array_equal(written + residual, mix)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_conversion_keeps_all_channels_and_samples(tmp_path: Path, channels: int) -> None:
    """At the same sample rate, all samples are unchanged."""
    path = _file(tmp_path, 44_100, "PCM_24", channels)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(_mix(path, sample_rate=44_100, channels=channels), expected)


class FailingEngine(ShareEngine):
    """Fails at its second segment."""

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Return constant masks once."""
        if self.seen:
            raise ZeroDivisionError("in the network")
        return super().masks(magnitudes)


@pytest.mark.parametrize("suffix", ["wav", "mka"])
@pytest.mark.parametrize("failing", ["consumer", "network", "source"])
def test_no_thread_keeps_running_after_a_failure(tmp_path: Path, suffix: str, failing: str) -> None:
    """The source is closed next, and a thread that is still decoding would crash the process."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * 44_100, 2)).astype(np.float32)
    path = tmp_path / f"noise.{suffix}"
    if suffix == "wav":
        soundfile.write(path, noise, 44_100)
    else:
        write_libav(path, noise, "flac")

    blocks = itertools.count()

    def block() -> None:
        if failing == "source" and next(blocks) > 20:
            raise ZeroDivisionError("in the source")

    def separation(mix: Iterable[NDArray[np.float32]]) -> StemSegments:
        engine = (
            FailingEngine(0.1, 0.2, 0.3, 0.4, bins=1024) if failing == "network" else four_shares()
        )
        return separate(mix, engine, fastest_transform(), stems=("a",), overlapped=True)

    def consume(output: Iterable[object]) -> None:
        for _ in output:
            if failing == "consumer":
                raise ZeroDivisionError("in the consumer")

    with Decoder(path) as source:
        output = stem_blocks(
            source, separation, stems=1, sample_rate=44_100, residual=None, on_block=block
        )
        with pytest.raises(ZeroDivisionError), contextlib.closing(output):
            consume(output)
        assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_the_mix_is_resampled_before_the_separation(tmp_path: Path) -> None:
    """The separation gets the mix at 44.1 kHz."""
    path = _file(tmp_path, 48_000, "PCM_16")
    seen: list[NDArray[np.float32]] = []

    def recording(blocks: Iterable[NDArray[np.float32]]) -> StemSegments:
        for block in blocks:
            seen.append(block)
            yield iter([(block,)])

    with Decoder(path) as source:
        list(stem_blocks(source, recording, stems=1, sample_rate=44_100, residual=None))
    samples, _ = soundfile.read(path, dtype="float32")
    frames = round(FRAMES * 44_100 / 48_000)
    expected = list(resample([samples], RateConverter(48_000, 44_100, 2), lambda: frames))
    np.testing.assert_allclose(np.concatenate(seen), np.concatenate(expected), atol=1e-6)
