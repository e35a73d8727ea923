"""Runs in the child. From an open source to the samples of each file that is to be written.

Covers what stands around the separation: down to two channels, to the model's sample rate and from
it to the stems', and what the stems leave of the mix. It knows nothing of files that are written.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.channels import mix_down
from stemsplit.audio.resample import RateConverter, resample
from stemsplit.errors import BadInputError
from stemsplit.formats import frames_at
from stemsplit.job import MODEL_SAMPLE_RATE, STEREO
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from stemsplit.audio.decode import Decoder

    Separation = Callable[
        [Iterable[NDArray[np.float32]]], Iterable[tuple[NDArray[np.float32], ...]]
    ]
    """Turns a mix into stems, each piece of all stems having as many frames; both at the model's
    sample rate, and as long as one another in the end."""

GRID = np.float32(2.0**23)
"""Steps of 24 bits, to which samples are rounded where a residual is asked for: sums of such
samples up to twice full scale are exact in float32."""


def render(
    source: Decoder,
    separation: Separation,
    *,
    stems: int,
    sample_rate: int,
    residual: bool,
    on_block: Callable[[], None] = lambda: None,
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """Separate a source.

    Args:
        source: is read once.
        separation: gives so many stems.
        stems: how many that is.
        sample_rate: of what is given, in Hz.
        residual: whether what the stems leave of the mix comes as one more.
        on_block: is called for each block that was read.

    Yields:
        one array of `(frames, 2)` float32 for each stem, all of the same length. Put together they
        have as many frames as the source, or as `frames_at` gives for another sample rate.

    Raises:
        BadInputError: as `Decoder.blocks`, or if the source is too short to have a sample at the
            model's rate.
    """
    rate = source.info.sample_rate
    mix = _Mix(rate, sample_rate) if residual else None
    stereo = mix_down(source.blocks(on_block), source.channels, source.path)
    if mix is not None:
        stereo = mix.passing(stereo)
    at_model_rate = resample(
        stereo,
        RateConverter(rate, MODEL_SAMPLE_RATE, STEREO),
        lambda: frames_at(source.frames_given, rate, MODEL_SAMPLE_RATE),
    )
    converters = [RateConverter(MODEL_SAMPLE_RATE, sample_rate, STEREO) for _ in range(stems)]
    given = 0
    for blocks in separation(at_model_rate):
        converted = [one.push(block) for one, block in zip(converters, blocks, strict=True)]
        given += len(blocks[0])
        yield _with_residual(converted, mix)
    if given == 0:
        raise BadInputError(
            f"{quoted(source.path.name)} is shorter than one sample at 44.1 kHz.",
            "There is nothing in it to separate.",
        )
    frames = frames_at(source.frames_given, rate, sample_rate)
    if mix is not None:
        mix.finish(frames)
    yield _with_residual([one.finish(frames) for one in converters], mix)


def convert(
    source: Decoder, *, sample_rate: int, channels: int, on_block: Callable[[], None]
) -> Iterator[tuple[NDArray[np.float32], ...]]:
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
    converter = RateConverter(rate, sample_rate, channels)
    for block in resample(
        blocks, converter, lambda: frames_at(source.frames_given, rate, sample_rate)
    ):
        yield (block,)


def _with_residual(
    stems: list[NDArray[np.float32]], mix: _Mix | None
) -> tuple[NDArray[np.float32], ...]:
    if mix is None:
        return tuple(stems)
    rounded = [on_grid(stem) for stem in stems]
    rest = mix.take(len(rounded[0]))
    for stem in rounded:
        rest -= stem
    return (*rounded, rest)


def on_grid(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to steps of 24 bits; always a new array."""
    steps: NDArray[np.float32] = np.rint(samples * GRID)
    steps /= GRID
    return steps


class _Mix:
    """Keeps the mix, at the stems' sample rate, until the stems have caught up with it."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        self._converter = RateConverter(source_rate, target_rate, STEREO)
        self._kept: deque[NDArray[np.float32]] = deque()

    def passing(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Take what passes."""
        for block in blocks:
            self._kept.append(on_grid(self._converter.push(block)))
            yield block

    def finish(self, frames: int) -> None:
        """Take the end of it; so many frames there are in all."""
        self._kept.append(on_grid(self._converter.finish(frames)))

    def take(self, frames: int) -> NDArray[np.float32]:
        """Give the next frames, a new array."""
        taken: list[NDArray[np.float32]] = []
        while frames > 0:
            block = self._kept.popleft()
            if len(block) > frames:
                self._kept.appendleft(block[frames:])
                block = block[:frames]
            taken.append(block)
            frames -= len(block)
        return np.concatenate(taken) if taken else np.empty((0, STEREO), np.float32)
