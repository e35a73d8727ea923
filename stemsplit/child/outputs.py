"""Runs in the child. Computes the samples of each output file from an open source.

Covers what surrounds the separation: mixing down to stereo, resampling to the model's sample rate
and to that of the stems, and the residual. Writing the files is up to the caller.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.channels import mix_down
from stemsplit.audio.resample import RateConverter, resample
from stemsplit.audio.sample_blocks import BLOCK_FRAMES, split_block
from stemsplit.core.format_rates import frames_at
from stemsplit.core.settings import MODEL_SAMPLE_RATE, STEREO

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from stemsplit.audio.decode import Decoder

    StemSegments = Generator[Iterator[tuple[NDArray[np.float32], ...]], None, None]
    """For each segment an iterator of its pieces: one array per stem, all of the same length."""

    Separator = Callable[[Iterable[NDArray[np.float32]]], StemSegments]
    """Separates a mix into stems of the same total length, both at `MODEL_SAMPLE_RATE`."""

STEPS_PER_UNIT = np.float32(2.0**23)
"""Resolution of 24-bit samples. If a residual is written, all samples are rounded to it, because
sums of such samples are exact in float32 up to twice full scale."""


def stem_blocks(
    source: Decoder,
    separator: Separator,
    *,
    stems: int,
    sample_rate: int,
    residual: Residual | None,
    on_block: Callable[[], None] = lambda: None,
    on_segment: Callable[[], None] = lambda: None,
) -> Generator[tuple[NDArray[np.float32], ...], None, None]:
    """Separate a source.

    Args:
        source: read once.
        separator: separates the mix.
        stems: number of stems that `separator` yields.
        sample_rate: sample rate of the output, in Hz.
        residual: computes the residual, which is yielded as one more stem; None for none.
        on_block: called after each block that is read.
        on_segment: called after each segment that is separated.

    Yields:
        one `(frames, 2)` float32 array per stem, all of the same length, not much longer than
        `BLOCK_FRAMES`. Concatenated, they have the length of the source, or that of `frames_at` for
        another sample rate.

    Raises:
        BadInputError: see `Decoder.blocks`.
    """
    rate = source.info.sample_rate
    mix = mix_down(source.blocks(on_block), source.channels, source.path)
    if residual is not None:
        mix = residual.record_mix(mix)
    mix = resample(
        mix,
        RateConverter(rate, MODEL_SAMPLE_RATE, STEREO),
        lambda: frames_at(source.frames_read, rate, MODEL_SAMPLE_RATE),
    )
    converters = [RateConverter(MODEL_SAMPLE_RATE, sample_rate, STEREO) for _ in range(stems)]

    def output(converted: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
        return tuple(converted) if residual is None else residual.append_to(converted)

    step = _input_frames(MODEL_SAMPLE_RATE, sample_rate)
    with contextlib.closing(separator(mix)) as segments:
        for segment in segments:
            for blocks in segment:
                for pieces in zip(*(split_block(block, step) for block in blocks), strict=True):
                    pairs = zip(converters, pieces, strict=True)
                    yield output([converter.push(piece) for converter, piece in pairs])
            on_segment()
    frames = frames_at(source.frames_read, rate, sample_rate)
    if residual is not None:
        residual.finish_mix(frames)
    yield output([converter.finish(frames) for converter in converters])


def converted_blocks(
    source: Decoder, *, sample_rate: int, channels: int, on_block: Callable[[], None]
) -> Generator[tuple[NDArray[np.float32], ...], None, None]:
    """Read a source, and resample or mix it down if needed.

    Args:
        source: read once.
        sample_rate: sample rate of the output, in Hz.
        channels: number of output channels: that of the source, or two.
        on_block: called after each block that is read.

    Yields:
        a tuple of one `(frames, channels)` float32 array. Concatenated, the arrays have the length
        of the source, or that of `frames_at` for another sample rate.

    Raises:
        BadInputError: see `Decoder.blocks`.
    """
    rate = source.info.sample_rate
    blocks = source.blocks(on_block)
    if channels != source.info.channels:
        blocks = mix_down(blocks, source.channels, source.path)
    step = _input_frames(rate, sample_rate)
    for block in resample(
        (piece for whole in blocks for piece in split_block(whole, step)),
        RateConverter(rate, sample_rate, channels),
        lambda: frames_at(source.frames_read, rate, sample_rate),
    ):
        yield (block,)


def _input_frames(source_rate: int, target_rate: int) -> int:
    """Return how many frames to resample at once for at most `BLOCK_FRAMES` output frames."""
    return max(BLOCK_FRAMES * source_rate // max(source_rate, target_rate), 1)


def rounded_to_grid(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a new array of the samples, rounded to multiples of 1 / `STEPS_PER_UNIT`."""
    steps: NDArray[np.float32] = np.rint(samples * STEPS_PER_UNIT)
    steps /= STEPS_PER_UNIT
    return steps


class Residual:
    """Computes the residual, the mix minus all stems.

    The mix and the stems reach the output's sample rate through different converters with different
    delays, so each of them is buffered until the other is available. The mix may arrive on another
    thread than the stems.

    Args:
        source_rate: sample rate of the mix, in Hz.
        target_rate: sample rate of the stems, in Hz.
        clamped: whether the written stems are clamped to full scale; the residual then includes
            what the clamping removes.
    """

    def __init__(self, source_rate: int, target_rate: int, *, clamped: bool) -> None:
        self._converter = RateConverter(source_rate, target_rate, STEREO)
        self._step = _input_frames(source_rate, target_rate)
        self._clamped = clamped
        self._mix = _SampleQueue()
        self._stems: list[_SampleQueue] = []

    def record_mix(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield blocks, `(frames, 2)` float32 each, unchanged, and buffer them as the mix."""
        for block in blocks:
            for piece in split_block(block, self._step):
                self._mix.put(rounded_to_grid(self._converter.push(piece)))
            yield block

    def finish_mix(self, frames: int) -> None:
        """Buffer the converter's last samples, for a mix of `frames` output frames in total."""
        self._mix.put(rounded_to_grid(self._converter.finish(frames)))

    def append_to(self, stems: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
        """Buffer the next frames of the stems and return all frames that are complete.

        Args:
            stems: one `(frames, 2)` float32 array per stem, all of the same length.

        Returns:
            the stems, rounded to 24 bits, followed by the residual.
        """
        if not self._stems:
            self._stems = [_SampleQueue() for _ in stems]
        for queue, stem in zip(self._stems, stems, strict=True):
            queue.put(rounded_to_grid(stem))
        ready = min(self._mix.frames, self._stems[0].frames)
        complete = [queue.pop(ready) for queue in self._stems]
        residual = self._mix.pop(ready)
        for stem in complete:
            residual -= np.clip(stem, -1, 1 - 1 / STEPS_PER_UNIT) if self._clamped else stem
        return (*complete, residual)


class _SampleQueue:
    """A queue of samples. One thread may put while another one pops."""

    def __init__(self) -> None:
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._put_frames = 0
        self._popped_frames = 0

    @property
    def frames(self) -> int:
        return self._put_frames - self._popped_frames

    def put(self, block: NDArray[np.float32]) -> None:
        self._blocks.append(block)
        self._put_frames += len(block)

    def pop(self, frames: int) -> NDArray[np.float32]:
        """Remove and return the next `frames` frames, at most `self.frames`, as a new array."""
        self._popped_frames += frames
        popped = [np.empty((0, STEREO), np.float32)]
        while frames > 0:
            block = self._blocks.popleft()
            if len(block) > frames:
                self._blocks.appendleft(block[frames:])
                block = block[:frames]
            popped.append(block)
            frames -= len(block)
        return np.concatenate(popped)
