"""The frame arithmetic, compared with Spleeter's whole-file graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemsplit.audio import fft, stft

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
    """Return the frame count of TensorFlow's `stft(pad_end=True)`, with 4,096 zeros in front."""
    return -(-(samples + stft.FRAME_LENGTH) // stft.HOP_LENGTH)


@given(st.integers(min_value=0, max_value=10**9))
def test_the_frame_count_equals_spleeter_s(samples: int) -> None:
    """The number of frames is that of TensorFlow's padded STFT for every length."""
    assert stft.frame_count(samples) == _spleeter_frames(samples)


@pytest.mark.parametrize("frames", EDGES)
@pytest.mark.parametrize("block", [7_919, 65_536, 10**7])
def test_segments_contain_the_file_at_the_documented_offsets(frames: int, block: int) -> None:
    """Segment s is x[524288 s - 4096 : +527360), zero outside the file, for any block size."""
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
def test_segments_cover_the_file_once(frames: int, block: int) -> None:
    """The segments return each sample of the file once, and none outside it."""
    lengths = [
        segment.in_file.stop - segment.in_file.start
        for segment in stft.segments(_cut(np.zeros((frames, 1), np.float32), block), 1)
    ]
    assert sum(lengths) == frames
    assert all(length > 0 for length in lengths)


@pytest.fixture(params=["NumpyTransform", "ScipyTransform"])
def transform(request: pytest.FixtureRequest) -> stft.Transform:
    """Each installed transform."""
    if request.param == "ScipyTransform" and not fft.HAS_SCIPY:
        pytest.skip("SciPy is not installed")
    instance: stft.Transform = getattr(fft, request.param)()
    return instance


def test_the_transform_is_exact(transform: stft.Transform) -> None:
    """The error is within float32's precision, with a window computed in float64."""
    frames = np.random.default_rng(0).uniform(-1, 1, (8, stft.FRAME_LENGTH)).astype(np.float32)
    exact = np.fft.rfft(frames.astype(np.float64) * stft.hann_window().astype(np.float64))
    spectra = transform.forward(frames)
    assert spectra.dtype == np.complex64
    np.testing.assert_allclose(spectra, exact, atol=1e-5)
    back = transform.inverse(spectra.copy())
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, frames * stft.hann_window() ** 2, atol=1e-6)


@pytest.mark.parametrize("frames", EDGES)
def test_transform_and_overlap_add_restore_the_file(frames: int, transform: stft.Transform) -> None:
    """Without a mask, the output equals the input to float32's precision, at every edge."""
    samples = _noise(frames)
    adder = stft.OverlapAdd()
    parts = []
    for segment in stft.segments(_cut(samples[:, :1], 65_536), 1):
        spectra = transform.forward(stft.frames_of(segment.samples[0]))
        assert spectra.dtype == np.complex64
        parts.append(adder.add(transform.inverse(spectra))[segment.in_file])
    np.testing.assert_allclose(np.concatenate(parts), samples[:, 0], atol=1e-6)


@pytest.mark.parametrize("size", [64, 100, 512])
def test_overlap_add_does_not_depend_on_the_number_of_frames(size: int) -> None:
    """Any number of frames may be added at once."""
    frames = np.random.default_rng(0).uniform(-1, 1, (1024, stft.FRAME_LENGTH)).astype(np.float32)
    whole, pieces = stft.OverlapAdd(), stft.OverlapAdd()
    expected = np.concatenate([whole.add(frames[:512]), whole.add(frames[512:])])
    parts = [pieces.add(frames[first : first + size]) for first in range(0, 1024, size)]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(frames=st.integers(1, 1_300_000), count=st.sampled_from([1024, 65_536, 262_144]))
def test_parts_of_a_segment_cover_its_samples_in_the_file(frames: int, count: int) -> None:
    """Each part contains its own samples of the file, and none twice."""
    for segment in stft.segments(_cut(np.zeros((frames, 1), np.float32), 100_000), 1):
        inside = np.zeros(stft.SEGMENT_STEP, int)
        for first in range(0, stft.SEGMENT_STEP, count):
            inside[first : first + count][stft.part_in_file(segment.in_file, first, count)] += 1
        expected = np.zeros(stft.SEGMENT_STEP, int)
        expected[segment.in_file] = 1
        np.testing.assert_array_equal(inside, expected)


def test_an_empty_stream_has_one_silent_segment() -> None:
    """Spleeter pads an empty file to four frames, none of which lies inside the file."""
    (segment,) = stft.segments(iter([]), 2)
    assert not segment.samples.any()
    assert segment.in_file.start == segment.in_file.stop


def test_the_window_equals_tensorflow_s() -> None:
    """The periodic Hann window: 0 at the start, 1 in the middle, squares that sum to 3/2."""
    window = stft.hann_window()
    assert window[0] == 0
    assert window[stft.FRAME_LENGTH // 2] == 1
    overlapped = (window.reshape(4, stft.HOP_LENGTH).astype(np.float64) ** 2).sum(axis=0)
    np.testing.assert_allclose(overlapped, 1.5, rtol=1e-6)
