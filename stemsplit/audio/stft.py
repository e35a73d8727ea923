"""Runs in the child. Spleeter's short-time Fourier transform, one segment at a time. Pure.

Contains the frame arithmetic, the overlap-add, and the protocol of a transform. Independent of
files and networks.

Spleeter's network processes 512 frames at a time, independently of all others, so a file of any
length can be separated segment by segment with the same result. For N samples, with x = 0 outside
[0, N):

- there are K = ceil(N / 1024) + 4 frames; frame k covers x[1024 k - 4096 : 1024 k), so frame 0 is
  all zeros (Spleeter pads one frame in front, `spleeter.model.EstimatorSpecBuilder`);
- segment s contains frames 512 s .. 512 s + 511 and needs x[a : a + 527360) with
  a = 524288 s - 4096;
- after segment s every sample below 524288 s + 520192 is final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

FRAME_LENGTH = 4096
HOP_LENGTH = 1024
SEGMENT_FRAMES = 512
STFT_BINS = FRAME_LENGTH // 2 + 1
SEGMENT_STEP = SEGMENT_FRAMES * HOP_LENGTH
"""Samples from the start of one segment to the start of the next: 524,288, or 11.89 s."""
SEGMENT_SAMPLES = SEGMENT_STEP + FRAME_LENGTH - HOP_LENGTH
"""Samples that the frames of one segment cover: 527,360."""

WINDOW_COMPENSATION = np.float32(2 / 3)
"""One over the sum of squared Hann windows at 75 % overlap, which is 3/2."""

_HOPS_PER_FRAME = FRAME_LENGTH // HOP_LENGTH
_CARRIED_HOPS = _HOPS_PER_FRAME - 1
_SHARED_SAMPLES = SEGMENT_SAMPLES - SEGMENT_STEP


def frame_count(samples: int) -> int:
    """Return the number of STFT frames, K, of a file with `samples` samples per channel."""
    return -(-samples // HOP_LENGTH) + _HOPS_PER_FRAME


def segment_count(samples: int) -> int:
    """Return the number of segments of a file with `samples` samples per channel."""
    return -(-frame_count(samples) // SEGMENT_FRAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The part of the file that one segment covers.

    Attributes:
        samples: `(channels, SEGMENT_SAMPLES)` float32, zero outside the file. A view of a buffer
            that the next segment overwrites.
        in_file: those of the `SEGMENT_STEP` samples that `OverlapAdd.add` returns for this segment
            that lie inside the file: all, except in the first and the last segments.
    """

    samples: NDArray[np.float32]
    in_file: slice

    @classmethod
    def at(cls, index: int, samples: NDArray[np.float32], samples_read: int) -> Segment:
        """Return segment `index` of a stream of which `samples_read` samples were read."""
        start = index * SEGMENT_STEP - FRAME_LENGTH
        first = max(start, 0) - start
        return cls(samples=samples, in_file=slice(first, min(SEGMENT_STEP, samples_read - start)))


def part_in_file(in_file: slice, first: int, count: int) -> slice:
    """Return which of `count` samples from `first` on lie inside the file; see `Segment`."""
    start, stop = (min(max(edge - first, 0), count) for edge in (in_file.start, in_file.stop))
    return slice(start, stop)


def segments(blocks: Iterable[NDArray[np.float32]], channels: int) -> Iterator[Segment]:
    """Cut a stream of sample blocks into the segments of the whole file.

    Args:
        blocks: `(frames, channels)` float32, of any length.
        channels: number of channels of every block.

    Yields:
        the segments in order, exactly `segment_count(N)` of them. All share one buffer, so memory
        does not depend on the length of the stream.
    """
    buffer = np.zeros((channels, SEGMENT_SAMPLES), np.float32)
    filled = FRAME_LENGTH  # the zeros in front of the file
    samples_read = 0
    index = 0
    for block in blocks:
        consumed = 0
        while consumed < len(block):
            count = min(len(block) - consumed, SEGMENT_SAMPLES - filled)
            buffer[:, filled : filled + count] = block[consumed : consumed + count].T
            consumed += count
            filled += count
            samples_read += count
            if filled == SEGMENT_SAMPLES:
                yield Segment.at(index, buffer, samples_read)
                index += 1
                buffer[:, :_SHARED_SAMPLES] = buffer[:, SEGMENT_STEP:]
                filled = _SHARED_SAMPLES
    # One or two more segments: frames of both may cover the last samples of the file.
    for rest in range(index, segment_count(samples_read)):
        buffer[:, filled:] = 0
        yield Segment.at(rest, buffer, samples_read)
        buffer[:, :_SHARED_SAMPLES] = buffer[:, SEGMENT_STEP:]
        filled = _SHARED_SAMPLES


class Transform(Protocol):
    """A windowed Fourier transform of frames and its inverse."""

    def forward(self, frames: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Transform `(n, FRAME_LENGTH)` float32 to `(n, STFT_BINS)` complex64."""

    def inverse(self, spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Transform `(n, STFT_BINS)` complex64 to windowed `(n, FRAME_LENGTH)` float32 frames.

        May overwrite `spectra`.
        """


def hann_window() -> NDArray[np.float32]:
    """Return the periodic Hann window of `FRAME_LENGTH` samples, rounded from float64."""
    phase = 2 * np.pi * np.arange(FRAME_LENGTH) / FRAME_LENGTH
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def frames_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the frames of one channel of a segment, from its `(SEGMENT_SAMPLES,)` samples.

    Returns:
        `(SEGMENT_FRAMES, FRAME_LENGTH)`, a read-only view without a copy.
    """
    return sliding_window_view(samples, FRAME_LENGTH)[::HOP_LENGTH]


class OverlapAdd:
    """Overlap-adds consecutive frames of one channel of one stem.

    Keeps the 3,072 samples in which the last frames overlap with the next ones.
    """

    def __init__(self) -> None:
        """Start in front of the file, where all samples are zero."""
        self._carried = np.zeros((_CARRIED_HOPS, HOP_LENGTH), np.float32)

    def add(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the next frames.

        Args:
            frames: `(n, FRAME_LENGTH)` float32, windowed; n is at least 3.

        Returns:
            `(n * HOP_LENGTH,)` float32: the samples from the start of the first frame on, all
            final. For the first frame of segment s that is sample 524288 s - 4096 of the file.
        """
        count = len(frames)
        quarters = frames.reshape(count, _HOPS_PER_FRAME, HOP_LENGTH)
        hops = quarters[:, 0].copy()
        hops[:_CARRIED_HOPS] += self._carried
        self._carried[:] = 0
        for quarter in range(1, _HOPS_PER_FRAME):
            inside = count - quarter
            hops[quarter:] += quarters[:inside, quarter]
            self._carried[:quarter] += quarters[inside:, quarter]
        hops *= WINDOW_COMPENSATION
        return hops.reshape(-1)
