"""From a source to the samples that are written, with separations whose right answer is known."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from audio_files import write_libav

from stemsplit.audio.decode import Decoder
from stemsplit.audio.encode import quantise
from stemsplit.audio.resample import RateConverter, resample
from stemsplit.audio.transforms import NumpyTransform, best_transform
from stemsplit.child.outputs import GRID, Residual, convert, on_grid, render
from stemsplit.child.separation import separate, separate_at_once
from stemsplit.core.formats import frames_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from stemsplit.child.outputs import Steps

FRAMES = 700_003


def _thirds(
    blocks: Iterable[NDArray[np.float32]],
) -> Steps:
    """Give a third, and a fifth that is late by some hundred thousand frames."""
    mix = np.concatenate([np.empty((0, 2), np.float32), *blocks])
    for first in range(0, len(mix), 300_000):
        piece = mix[first : first + 300_000]
        yield iter([(piece / np.float32(3), piece * np.float32(0.2))])


def _file(folder: Path, rate: int, subtype: str, channels: int = 2) -> Path:
    noise = np.random.default_rng(rate).uniform(-0.9, 0.9, (FRAMES, channels))
    path = folder / "noise.wav"
    soundfile.write(path, noise, rate, subtype=subtype)
    return path


def _rendered(path: Path, *, sample_rate: int, residual: bool = False) -> list[NDArray[np.float32]]:
    with Decoder(path) as source:
        rest = Residual(source.info.sample_rate, sample_rate, clamped=False) if residual else None
        parts = render(source, _thirds, stems=2, sample_rate=sample_rate, residual=rest)
        return [np.concatenate(stem) for stem in zip(*parts, strict=True)]


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_stems_at_the_source_s_rate_have_its_frames(tmp_path: Path, rate: int) -> None:
    """Exactly, and each where it was: a third of the source as far as the model's rate carries."""
    path = _file(tmp_path, rate, "PCM_24")
    third, _ = _rendered(path, sample_rate=rate)
    assert len(third) == FRAMES
    if rate <= 44_100:
        source, _ = soundfile.read(path, dtype="float32")
        middle = slice(10_000, -10_000)
        power = np.mean((third[middle] - source[middle] / 3) ** 2) / np.mean(source**2 / 9)
        assert power < 0.1, "all but what lies above the converter's pass band"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize(("rate", "out"), [(44_100, 44_100), (48_000, 48_000), (44_100, 48_000)])
def test_stems_and_residual_make_the_mix_to_the_last_bit(
    tmp_path: Path, subtype: str, rate: int, out: int
) -> None:
    """Added up in float32, in any order; the mix in steps of 24 bits, where it is finer."""
    path = _file(tmp_path, rate, subtype)
    one, two, rest = _rendered(path, sample_rate=out, residual=True)
    with Decoder(path) as source:
        mix = np.concatenate(
            [
                block
                for (block,) in convert(source, sample_rate=out, channels=2, on_block=lambda: None)
            ]
        )
    np.testing.assert_array_equal(one + two + rest, on_grid(mix))
    np.testing.assert_array_equal(rest + (two + one), on_grid(mix))
    if subtype != "FLOAT" and rate == out:
        np.testing.assert_array_equal(one + two + rest, mix)


@pytest.mark.parametrize("seconds", [0.7, 3.0, 13.0])
@pytest.mark.parametrize("out", [8_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000, 192_000])
def test_the_mix_waits_for_the_stems_and_they_for_it(
    tmp_path: Path, rate: int, out: int, seconds: float
) -> None:
    """From any rate to any other, streamed by segments: exact, and as long as it must be."""
    noise = np.random.default_rng(rate).uniform(-0.5, 0.5, (round(seconds * rate), 2))
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, rate, subtype="PCM_16")

    def separation(blocks: Iterable[NDArray[np.float32]]) -> Steps:
        return separate(
            blocks, FourShares(), best_transform(), stems=("a", "c"), overlapped=seconds > 1
        )

    with Decoder(path) as source:
        parts = render(
            source,
            separation,
            stems=2,
            sample_rate=out,
            residual=Residual(rate, out, clamped=False),
        )
        one, two, rest = (np.concatenate(stem) for stem in zip(*parts, strict=True))
    with Decoder(path) as source:
        pieces = convert(source, sample_rate=out, channels=2, on_block=lambda: None)
        mix = np.concatenate([block for (block,) in pieces])
    np.testing.assert_array_equal(one + two + rest, on_grid(mix))
    assert len(mix) == frames_at(len(noise), rate, out)


def test_a_residual_makes_up_for_what_is_clamped(tmp_path: Path) -> None:
    """The sum is that of the stems as they are written, cut to full scale."""
    path = _file(tmp_path, 44_100, "PCM_16")

    def loud(blocks: Iterable[NDArray[np.float32]]) -> Steps:
        for block in blocks:
            yield iter([(block * np.float32(1.7),)])

    with Decoder(path) as source:
        rest_of = Residual(44_100, 44_100, clamped=True)
        parts = render(source, loud, stems=1, sample_rate=44_100, residual=rest_of)
        stem, rest = (np.concatenate(one) for one in zip(*parts, strict=True))
    mix, _ = soundfile.read(path, dtype="float32")
    steps, clipped = quantise(stem, 24)
    assert clipped > 0
    written = (steps >> 8).astype(np.float32) / GRID
    np.testing.assert_array_equal(written + rest, mix)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_conversion_keeps_all_channels_and_samples(tmp_path: Path, channels: int) -> None:
    """At the same rate not a bit is touched."""
    path = _file(tmp_path, 44_100, "PCM_24", channels)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    with Decoder(path) as source:
        parts = convert(source, sample_rate=44_100, channels=channels, on_block=lambda: None)
        np.testing.assert_array_equal(np.concatenate([block for (block,) in parts]), expected)


class CountingTransform(NumpyTransform):
    """Counts inverse transforms."""

    inverses = 0

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Count, and transform."""
        self.inverses += 1
        return super().inverse(spectra)


class FourShares:
    """Gives fixed shares to four stems; its network sees the lower half."""

    model = "shares"
    stems = ("a", "b", "c", "d")
    bins = 1024

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Give constant masks."""
        return tuple(np.full_like(magnitudes, share) for share in (0.1, 0.2, 0.3, 0.4))


def _pieces(steps: Steps) -> list[tuple[NDArray[np.float32], ...]]:
    return [piece for step in steps for piece in step]


def test_only_what_is_wanted_is_transformed_back() -> None:
    """Two of four stems: half of the inverse transforms, and the same samples."""
    mix = np.random.default_rng(0).uniform(-0.5, 0.5, (600_000, 2)).astype(np.float32)
    every, some = CountingTransform(), CountingTransform()
    whole = _pieces(separate([mix], FourShares(), every))
    parts = _pieces(separate([mix], FourShares(), some, stems=("b", "d")))
    assert some.inverses * 2 == every.inverses
    for all_stems, wanted in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(wanted[0], all_stems[1])
        np.testing.assert_array_equal(wanted[1], all_stems[3])


def test_the_average_mask_carries_on_above_the_network_s_bins() -> None:
    """A tone at 15 kHz, which the network does not see, is shared out like what lies below."""
    time = np.arange(100_000) / 44_100
    tone = np.sin(2 * np.pi * 15_000 * time).astype(np.float32)
    mix = np.stack([tone, tone], axis=1)
    parts = _pieces(separate([mix], FourShares(), best_transform(), high_band="average"))
    for stem, share in zip(zip(*parts, strict=True), (0.1, 0.2, 0.3, 0.4), strict=True):
        np.testing.assert_allclose(
            np.concatenate(stem)[5_000:-5_000], share * mix[5_000:-5_000], atol=1e-5
        )


class HalfOfAll:
    """Separates a whole file."""

    def separate(
        self, mix: NDArray[np.float32], stems: Sequence[str]
    ) -> tuple[NDArray[np.float32], ...]:
        """Give each stem a half."""
        return tuple(mix / 2 for _ in stems)


@pytest.mark.parametrize("frames", [0, 1, 1_200_000])
def test_a_whole_file_comes_back_in_pieces(frames: int) -> None:
    """All of it, in order."""
    mix = np.random.default_rng(0).uniform(-1, 1, (frames, 2)).astype(np.float32)
    parts = _pieces(separate_at_once(np.array_split(mix, 3), HalfOfAll(), ("a",)))
    whole = np.concatenate([np.empty((0, 2), np.float32), *(part for (part,) in parts)])
    np.testing.assert_array_equal(whole, mix / 2)


class TroubledEngine(FourShares):
    """Fails at its second segment."""

    calls = 0

    def masks(self, magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Give constant masks, once."""
        self.calls += 1
        if self.calls > 1:
            raise ZeroDivisionError("in the network")
        return super().masks(magnitudes)


@pytest.mark.parametrize("suffix", ["wav", "mka"])
@pytest.mark.parametrize("trouble", ["consumer", "network", "source"])
def test_no_thread_reads_on_when_something_fails(tmp_path: Path, suffix: str, trouble: str) -> None:
    """The source is closed next, and a thread within a decoder would take the process with it."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * 44_100, 2)).astype(np.float32)
    path = tmp_path / f"noise.{suffix}"
    if suffix == "wav":
        soundfile.write(path, noise, 44_100)
    else:
        write_libav(path, noise, "flac")

    blocks = itertools.count()

    def block() -> None:
        if trouble == "source" and next(blocks) > 20:
            raise ZeroDivisionError("in the source")

    def separation(mix: Iterable[NDArray[np.float32]]) -> Steps:
        engine = TroubledEngine() if trouble == "network" else FourShares()
        return separate(mix, engine, best_transform(), stems=("a",), overlapped=True)

    def consume(rendering: Iterable[object]) -> None:
        for _ in rendering:
            if trouble == "consumer":
                raise ZeroDivisionError("in the consumer")

    with Decoder(path) as source:
        rendering = render(
            source, separation, stems=1, sample_rate=44_100, residual=None, on_block=block
        )
        with pytest.raises(ZeroDivisionError), contextlib.closing(rendering):
            consume(rendering)
        assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_the_model_s_rate_is_reached_before_the_separation(tmp_path: Path) -> None:
    """At 48 kHz the separation sees as many frames as 44.1 kHz has."""
    path = _file(tmp_path, 48_000, "PCM_16")
    seen = []

    def listening(blocks: Iterable[NDArray[np.float32]]) -> Steps:
        for block in blocks:
            seen.append(block)
            yield iter([(block,)])

    with Decoder(path) as source:
        list(render(source, listening, stems=1, sample_rate=44_100, residual=None))
    samples, _ = soundfile.read(path, dtype="float32")
    frames = round(FRAMES * 44_100 / 48_000)
    expected = list(resample([samples], RateConverter(48_000, 44_100, 2), lambda: frames))
    np.testing.assert_allclose(np.concatenate(seen), np.concatenate(expected), atol=1e-6)
