"""Runs in the child. From an open source to the samples of each file that is to be written.

Covers what stands around the separation: down to two channels, to the model's sample rate and from
it to the stems', and what the stems leave of the mix. It knows nothing of files that are written.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.channels import mix_down
from stemsplit.audio.resample import RateConverter, resample
from stemsplit.audio.sample_blocks import BLOCK_FRAMES, in_pieces
from stemsplit.core.formats import frames_at
from stemsplit.core.settings import MODEL_SAMPLE_RATE, STEREO

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from stemsplit.audio.decode import Decoder

    Steps = Generator[Iterator[tuple[NDArray[np.float32], ...]], None, None]
    Separation = Callable[[Iterable[NDArray[np.float32]]], Steps]
    """Turns a mix into stems, step by step, and each step piece by piece; each piece of all stems
    has as many frames. Both are at the model's sample rate, and as long as one another in the end.
    """

GRID = np.float32(2.0**23)
"""Steps of 24 bits, to which samples are rounded where a residual is asked for: sums of such
samples up to twice full scale are exact in float32."""


def render(
    source: Decoder,
    separation: Separation,
    *,
    stems: int,
    sample_rate: int,
    residual: Residual | None,
    on_block: Callable[[], None] = lambda: None,
    on_segment: Callable[[], None] = lambda: None,
) -> Generator[tuple[NDArray[np.float32], ...], None, None]:
    """Separate a source.

    Args:
        source: is read once.
        separation: gives so many stems.
        stems: how many that is.
        sample_rate: of what is given, in Hz.
        residual: makes what the stems leave of the mix, which comes as one more; None for none.
        on_block: is called for each block that was read.
        on_segment: is called when all that came of one step of the separation was taken.

    Yields:
        one array of `(frames, 2)` float32 for each stem, all of the same length and none longer
        than `BLOCK_FRAMES` by much. Put together they have as many frames as the source, or as
        `frames_at` gives for another sample rate.

    Raises:
        BadInputError: as `Decoder.blocks`.
    """
    rate = source.info.sample_rate
    stereo = mix_down(source.blocks(on_block), source.channels, source.path)
    if residual is not None:
        stereo = residual.listening(stereo)
    at_model_rate = resample(
        stereo,
        RateConverter(rate, MODEL_SAMPLE_RATE, STEREO),
        lambda: frames_at(source.frames_given, rate, MODEL_SAMPLE_RATE),
    )
    converters = [RateConverter(MODEL_SAMPLE_RATE, sample_rate, STEREO) for _ in range(stems)]
    step = piece_frames(MODEL_SAMPLE_RATE, sample_rate)
    with contextlib.closing(separation(at_model_rate)) as segments:
        for segment in segments:
            for blocks in segment:
                for pieces in zip(*(in_pieces(block, step) for block in blocks), strict=True):
                    yield _given(
                        [one.push(piece) for one, piece in zip(converters, pieces, strict=True)],
                        residual,
                    )
            on_segment()
    frames = frames_at(source.frames_given, rate, sample_rate)
    if residual is not None:
        residual.finish(frames)
    yield _given([one.finish(frames) for one in converters], residual)


def _given(
    stems: list[NDArray[np.float32]], residual: Residual | None
) -> tuple[NDArray[np.float32], ...]:
    return tuple(stems) if residual is None else residual.beside(stems)


def piece_frames(source_rate: int, target_rate: int) -> int:
    """Give how many frames to convert at once, so that no more than `BLOCK_FRAMES` come of them."""
    return max(BLOCK_FRAMES * source_rate // max(source_rate, target_rate), 1)


def convert(
    source: Decoder, *, sample_rate: int, channels: int, on_block: Callable[[], None]
) -> Generator[tuple[NDArray[np.float32], ...], None, None]:
    """Give a source at another sample rate, or as it is.

    Args:
        source: is read once.
        sample_rate: of what is given, in Hz.
        channels: as many as the source has, or two.
        on_block: is called for each block that was read.

    Yields:
        one array of `(frames, channels)` float32; put together they have as many frames as the
        source, or as `frames_at` gives for another sample rate.

    Raises:
        BadInputError: as `Decoder.blocks`.
    """
    rate = source.info.sample_rate
    blocks = source.blocks(on_block)
    if channels != source.info.channels:
        blocks = mix_down(blocks, source.channels, source.path)
    step = piece_frames(rate, sample_rate)
    for block in resample(
        (piece for whole in blocks for piece in in_pieces(whole, step)),
        RateConverter(rate, sample_rate, channels),
        lambda: frames_at(source.frames_given, rate, sample_rate),
    ):
        yield (block,)


def on_grid(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to steps of 24 bits; always a new array."""
    steps: NDArray[np.float32] = np.rint(samples * GRID)
    steps /= GRID
    return steps


class Residual:
    """Keeps the mix, and gives what stems leave of it as far as both are known.

    The mix and the stems are converted to the same rate on different ways, which hold samples back
    for different times. So each waits for the other. The mix may come on another thread than the
    stems.

    Args:
        source_rate: of the mix, in Hz.
        target_rate: of the stems, in Hz.
        clamped: whether the stems will be cut to full scale, which the residual makes up for.
    """

    def __init__(self, source_rate: int, target_rate: int, *, clamped: bool) -> None:
        """Begin with nothing."""
        self._converter = RateConverter(source_rate, target_rate, STEREO)
        self._step = piece_frames(source_rate, target_rate)
        self._clamped = clamped
        self._mix = _Queue()
        self._stems: list[_Queue] = []

    def listening(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Take what passes of the mix, `(frames, 2)` float32."""
        for block in blocks:
            for piece in in_pieces(block, self._step):
                self._mix.put(on_grid(self._converter.push(piece)))
            yield block

    def finish(self, frames: int) -> None:
        """Take the end of the mix; so many frames there are in all."""
        self._mix.put(on_grid(self._converter.finish(frames)))

    def beside(self, stems: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], ...]:
        """Take the stems' next frames, and give those that the mix is known of.

        Returns:
            the stems, in steps of 24 bits, and what they leave of the mix.
        """
        if not self._stems:
            self._stems = [_Queue() for _ in stems]
        for queue, stem in zip(self._stems, stems, strict=True):
            queue.put(on_grid(stem))
        ready = min(self._mix.frames, self._stems[0].frames)
        given = [queue.take(ready) for queue in self._stems]
        rest = self._mix.take(ready)
        for stem in given:
            rest -= np.clip(stem, -1, 1 - 1 / GRID) if self._clamped else stem
        return (*given, rest)


class _Queue:
    """Samples in line; they may be put on one thread and taken on another."""

    def __init__(self) -> None:
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._put = 0
        self._taken = 0

    @property
    def frames(self) -> int:
        """So many may be taken."""
        return self._put - self._taken

    def put(self, block: NDArray[np.float32]) -> None:
        self._blocks.append(block)
        self._put += len(block)

    def take(self, frames: int) -> NDArray[np.float32]:
        """Give the next frames, of which there must be as many; a new array."""
        self._taken += frames
        taken = [np.empty((0, STEREO), np.float32)]
        while frames > 0:
            block = self._blocks.popleft()
            if len(block) > frames:
                self._blocks.appendleft(block[frames:])
                block = block[:frames]
            taken.append(block)
            frames -= len(block)
        return np.concatenate(taken)
