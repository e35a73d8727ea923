"""The frame arithmetic, against what Spleeter's whole-file graph does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemsplit.audio import stft, transforms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

EDGES = [1, 1000, 1024, 4096, 520191, 520192, 520193, 523264, 523265, 524288, 1044480, 1048576]


def _noise(frames: int) -> NDArray[np.float32]:
    return np.random.default_rng(frames).uniform(-1, 1, (frames, 2)).astype(np.float32)


def _cut(samples: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _spleeter_frames(samples: int) -> int:
    """What TensorFlow's `stft(pad_end=True)` makes of the file with 4,096 zeros in front."""
    return -(-(samples + stft.FRAME_LENGTH) // stft.HOP_LENGTH)


@given(st.integers(min_value=0, max_value=10**9))
def test_counts_as_many_frames_as_spleeter(samples: int) -> None:
    """The number of frames is that of TensorFlow's padded STFT, for every length."""
    assert stft.frame_count(samples) == _spleeter_frames(samples)


@pytest.mark.parametrize("frames", EDGES)
@pytest.mark.parametrize("block", [7_919, 65_536, 10**7])
def test_segments_hold_the_file_at_the_documented_offsets(frames: int, block: int) -> None:
    """Segment s is x[524288 s - 4096 : +527360), zero outside the file, however it is cut."""
    samples = _noise(frames)
    padded = np.zeros((2, 3 * stft.SEGMENT_STEP + stft.SEGMENT_SAMPLES), np.float32)
    padded[:, stft.FRAME_LENGTH : stft.FRAME_LENGTH + frames] = samples.T
    count = 0
    for index, segment in enumerate(stft.segments(_cut(samples, block), 2)):
        start = index * stft.SEGMENT_STEP
        np.testing.assert_array_equal(
            segment.samples, padded[:, start : start + stft.SEGMENT_SAMPLES]
        )
        count += 1
    assert count == stft.segment_count(frames)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 1_600_000), block=st.integers(1_000, 600_000))
def test_settled_samples_cover_the_file_once(frames: int, block: int) -> None:
    """What the segments settle is the whole file, each sample once and none outside it."""
    settled = [
        segment.settled.stop - segment.settled.start
        for segment in stft.segments(_cut(np.zeros((frames, 1), np.float32), block), 1)
    ]
    assert sum(settled) == frames
    assert all(length > 0 for length in settled)


@pytest.fixture(params=["NumpyTransform", "ScipyTransform"])
def transform(request: pytest.FixtureRequest) -> stft.Transform:
    """Each way to transform that there is here."""
    if request.param == "ScipyTransform" and not transforms.HAS_SCIPY:
        pytest.skip("SciPy is not installed")
    made: stft.Transform = getattr(transforms, request.param)()
    return made


def test_the_transform_is_the_exact_one(transform: stft.Transform) -> None:
    """To float32's precision, of a window that NumPy makes in float64."""
    frames = np.random.default_rng(0).uniform(-1, 1, (8, stft.FRAME_LENGTH)).astype(np.float32)
    exact = np.fft.rfft(frames.astype(np.float64) * stft.hann_window().astype(np.float64))
    found = transform.forward(frames)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, exact, atol=1e-5)
    back = transform.inverse(found.copy())
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, frames * stft.hann_window() ** 2, atol=1e-6)


@pytest.mark.parametrize("frames", EDGES)
def test_transform_and_overlap_add_give_the_file_back(
    frames: int, transform: stft.Transform
) -> None:
    """Without a mask, what comes out is what went in, to float32's precision, at every edge."""
    samples = _noise(frames)
    adder = stft.OverlapAdd()
    parts = []
    for segment in stft.segments(_cut(samples[:, :1], 65_536), 1):
        spectra = transform.forward(stft.frames_of(segment.samples[0]))
        assert spectra.dtype == np.complex64
        parts.append(adder.add(transform.inverse(spectra))[segment.settled])
    np.testing.assert_allclose(np.concatenate(parts), samples[:, 0], atol=1e-6)


@pytest.mark.parametrize("size", [64, 100, 512])
def test_overlap_add_in_pieces_is_that_of_the_whole(size: int) -> None:
    """However many frames are added at once."""
    frames = np.random.default_rng(0).uniform(-1, 1, (1024, stft.FRAME_LENGTH)).astype(np.float32)
    whole, pieces = stft.OverlapAdd(), stft.OverlapAdd()
    expected = np.concatenate([whole.add(frames[:512]), whole.add(frames[512:])])
    parts = [pieces.add(frames[first : first + size]) for first in range(0, 1024, size)]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(frames=st.integers(1, 1_300_000), count=st.sampled_from([1024, 65_536, 262_144]))
def test_settled_samples_of_parts_are_those_of_the_segment(frames: int, count: int) -> None:
    """Each part has the samples of its own stretch, and none twice."""
    for segment in stft.segments(_cut(np.zeros((frames, 1), np.float32), 100_000), 1):
        inside = np.zeros(stft.SEGMENT_STEP, int)
        for first in range(0, stft.SEGMENT_STEP, count):
            inside[first : first + count][stft.part_of(segment.settled, first, count)] += 1
        expected = np.zeros(stft.SEGMENT_STEP, int)
        expected[segment.settled] = 1
        np.testing.assert_array_equal(inside, expected)


def test_an_empty_stream_has_one_silent_segment() -> None:
    """Spleeter pads an empty file to four frames; nothing of them lies inside the file."""
    (segment,) = stft.segments(iter([]), 2)
    assert not segment.samples.any()
    assert segment.settled.start == segment.settled.stop


def test_the_window_is_tensorflow_s() -> None:
    """The periodic Hann window: zero at 0, one in the middle, its square summing to 3/2."""
    window = stft.hann_window()
    assert window[0] == 0
    assert window[stft.FRAME_LENGTH // 2] == 1
    overlapped = (window.reshape(4, stft.HOP_LENGTH).astype(np.float64) ** 2).sum(axis=0)
    np.testing.assert_allclose(overlapped, 1.5, rtol=1e-6)
