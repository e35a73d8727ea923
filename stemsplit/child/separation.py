"""Runs in the child. Blocks of a mix in, blocks of its stems out; memory for one segment only.

Knows an engine by its protocol and nothing of files, processes or TensorFlow.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.sample_blocks import BLOCK_FRAMES, in_pieces
from stemsplit.audio.stft import (
    HOP_LENGTH,
    SEGMENT_FRAMES,
    SEGMENT_STEP,
    STFT_BINS,
    OverlapAdd,
    frames_of,
    part_of,
    segments,
)
from stemsplit.child.prefetch import Item, ahead
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from stemsplit.audio.stft import Transform
    from stemsplit.child.engines import Engine, WholeFileEngine
    from stemsplit.core.settings import HighBand

    Stems = tuple[NDArray[np.float32], ...]
    Masks = tuple[NDArray[np.float32], ...]

_FRAMES_AT_ONCE = BLOCK_FRAMES // HOP_LENGTH
_PARTS = [
    slice(first, first + _FRAMES_AT_ONCE) for first in range(0, SEGMENT_FRAMES, _FRAMES_AT_ONCE)
]
"""The STFT frames of a segment that are transformed at once: so many that what is made of them fits
into a processor's cache and is written from there."""


def separate(
    blocks: Iterable[NDArray[np.float32]],
    engine: Engine,
    transform: Transform,
    *,
    stems: Sequence[str] | None = None,
    high_band: HighBand = "zeros",
    overlapped: bool = False,
) -> Generator[Iterator[Stems], None, None]:
    """Separate a stream of audio as Spleeter separates a whole file.

    Args:
        blocks: the mix, `(frames, 2)` float32 each, at 44.1 kHz.
        engine: runs the network.
        transform: from samples to spectra and back; back only for the stems that are wanted.
        stems: which of the engine's stems are wanted; None is all of them.
        high_band: what they hold above the frequencies that the network sees.
        overlapped: whether reading and transforming the next segment, and the network on this one,
            go on at the same time, on threads of their own, while what is given is used. It takes
            two segments more of memory.

    Yields:
        for each segment its pieces, to be taken before the next segment is: one array of
        `(frames, 2)` float32 for each of the stems, all of the same length, at most
        `BLOCK_FRAMES`. Put together they are exactly as long as the mix.
    """
    wanted = [engine.stems.index(stem) for stem in engine.stems if stems is None or stem in stems]
    adders = [[OverlapAdd() for _ in range(STEREO)] for _ in wanted]
    kept = engine.bins if high_band == "zeros" else STFT_BINS
    with contextlib.ExitStack() as stack:

        def step(items: Iterator[Item]) -> Iterator[Item]:
            # Closed in any case, the last one first: no thread may still be reading then.
            return stack.enter_context(contextlib.closing(ahead(items))) if overlapped else items

        analyses = step(_analysed(blocks, engine, transform, kept))
        for analysis, masks in step(_masked(analyses, engine)):
            yield _resynthesised(analysis, [masks[one] for one in wanted], adders, transform)


def separate_at_once(
    blocks: Iterable[NDArray[np.float32]], engine: WholeFileEngine, stems: Sequence[str]
) -> Generator[Iterator[Stems], None, None]:
    """Separate a stream as a whole, in memory that grows with its length.

    Args:
        blocks: the mix, `(frames, 2)` float32 each, at 44.1 kHz.
        engine: separates it.
        stems: which of the engine's stems are wanted.

    Yields:
        the whole in pieces, as `separate` does.
    """
    mix = np.concatenate([np.empty((0, STEREO), np.float32), *blocks])
    if not len(mix):
        return
    separated = engine.separate(mix, stems)
    del mix
    for first in range(0, len(separated[0]), SEGMENT_STEP):
        step = [in_pieces(stem[first : first + SEGMENT_STEP]) for stem in separated]
        yield zip(*step, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Analysis:
    """What a segment's stems are made of.

    Attributes:
        settled: which of the samples to come lie in the file; see `Segment.settled`.
        spectra: `(2, SEGMENT_FRAMES, bins)` complex64: of each channel, as many bins as stems have.
        magnitudes: `(SEGMENT_FRAMES, bins, 2)` float32, for the network.
    """

    settled: slice
    spectra: NDArray[np.complex64]
    magnitudes: NDArray[np.float32]


def _analysed(
    blocks: Iterable[NDArray[np.float32]], engine: Engine, transform: Transform, kept: int
) -> Iterator[_Analysis]:
    for segment in segments(blocks, STEREO):
        spectra = np.empty((STEREO, SEGMENT_FRAMES, kept), np.complex64)
        magnitudes = np.empty((SEGMENT_FRAMES, engine.bins, STEREO), np.float32)
        for channel, samples in enumerate(segment.samples):
            frames = frames_of(samples)
            for part in _PARTS:
                found = transform.forward(frames[part])[:, :kept]
                spectra[channel, part] = found
                # Not `abs`: where results lie side by side NumPy's is up to 1.8 ulp off, and the
                # stems would then be 3e-7 away from Spleeter's, ten times as far as by hypotf.
                seen = found[:, : engine.bins]
                np.hypot(seen.real, seen.imag, out=magnitudes[part, :, channel])
        yield _Analysis(settled=segment.settled, spectra=spectra, magnitudes=magnitudes)


def _masked(analyses: Iterator[_Analysis], engine: Engine) -> Iterator[tuple[_Analysis, Masks]]:
    for analysis in analyses:
        yield analysis, engine.masks(analysis.magnitudes)


def _resynthesised(
    analysis: _Analysis,
    masks: Sequence[NDArray[np.float32]],
    adders: Sequence[Sequence[OverlapAdd]],
    transform: Transform,
) -> Iterator[Stems]:
    for part in _PARTS:
        settled = part_of(analysis.settled, part.start * HOP_LENGTH, BLOCK_FRAMES)
        stems = [np.empty((settled.stop - settled.start, STEREO), np.float32) for _ in masks]
        for stem, mask, stem_adders in zip(stems, masks, adders, strict=True):
            for channel, adder in enumerate(stem_adders):
                spectra = _shared_out(analysis.spectra[channel, part], mask[part, :, channel])
                stem[:, channel] = adder.add(transform.inverse(spectra))[settled]
        if settled.stop > settled.start:
            yield tuple(stems)


def _shared_out(spectra: NDArray[np.complex64], mask: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Apply a mask to one channel; gives all bins.

    Above the bins that the network sees there is no mask. Where the spectra have bins there, they
    get the mean of a frame's mask, as by "average", a `mask_extension` of Spleeter's
    configurations; else there is nothing, as by "zeros".
    """
    bins, kept = mask.shape[1], spectra.shape[1]
    masked = np.zeros((len(spectra), STFT_BINS), np.complex64)
    np.multiply(spectra[:, :bins], mask, out=masked[:, :bins])
    if kept > bins:
        mean = mask.mean(axis=1, keepdims=True)
        np.multiply(spectra[:, bins:], mean, out=masked[:, bins:kept])
    return masked
