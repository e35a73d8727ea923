"""Runs in the child. Separates a stream of audio with an engine, one segment at a time.

It uses engines only through their protocols and knows nothing of files, processes or TensorFlow.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.sample_blocks import BLOCK_FRAMES, split_block
from stemsplit.audio.stft import (
    HOP_LENGTH,
    SEGMENT_FRAMES,
    SEGMENT_STEP,
    STFT_BINS,
    OverlapAdd,
    frames_of,
    part_in_file,
    segments,
)
from stemsplit.child.prefetch import Item, prefetched
from stemsplit.core.settings import STEREO

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from stemsplit.audio.stft import Transform
    from stemsplit.child.engines.protocols import Engine, WholeFileEngine
    from stemsplit.core.settings import HighBand

    Arrays = tuple[NDArray[np.float32], ...]

_PART_FRAMES = BLOCK_FRAMES // HOP_LENGTH
_PARTS = [slice(first, first + _PART_FRAMES) for first in range(0, SEGMENT_FRAMES, _PART_FRAMES)]
"""The STFT frames of a segment that are transformed at once: few enough that the resulting samples
fit into the processor's cache until they are written."""


def separate(
    blocks: Iterable[NDArray[np.float32]],
    engine: Engine,
    transform: Transform,
    *,
    stems: Sequence[str] | None = None,
    high_band: HighBand = "zeros",
    overlapped: bool = False,
) -> Generator[Iterator[Arrays], None, None]:
    """Separate a stream of audio, with the result that Spleeter computes for the whole file.

    Args:
        blocks: the mix, `(frames, 2)` float32 each, at 44.1 kHz.
        engine: runs the network.
        transform: short-time Fourier transform; the inverse runs only for the wanted stems.
        stems: names of the wanted stems; None for all of the engine's.
        high_band: content of the stems above the frequencies that the network processes.
        overlapped: whether to read and transform the next segment, run the network on this one,
            and use the output at the same time, on separate threads. This needs the memory of two
            more segments.

    Yields:
        for each segment an iterator of its pieces, to exhaust before the next segment. A piece is
        one `(frames, 2)` float32 array per stem, all of the same length of at most `BLOCK_FRAMES`.
        Concatenated, the pieces are exactly as long as the mix.
    """
    wanted = [number for number, stem in enumerate(engine.stems) if stems is None or stem in stems]
    adders = [[OverlapAdd() for _ in range(STEREO)] for _ in wanted]
    kept_bins = engine.bins if high_band == "zeros" else STFT_BINS
    with contextlib.ExitStack() as stack:

        def stage(items: Iterator[Item]) -> Iterator[Item]:
            # The stack closes the stages in reverse order: no thread may be left reading.
            if not overlapped:
                return items
            return stack.enter_context(contextlib.closing(prefetched(items)))

        spectra = stage(_transformed(blocks, engine, transform, kept_bins))
        for segment, masks in stage(_with_masks(spectra, engine)):
            yield _stem_pieces(segment, [masks[number] for number in wanted], adders, transform)


def separate_whole(
    blocks: Iterable[NDArray[np.float32]], engine: WholeFileEngine, stems: Sequence[str]
) -> Generator[Iterator[Arrays], None, None]:
    """Separate a stream at once, in memory that grows with its length.

    Arguments and results are those of `separate`.
    """
    mix = np.concatenate([np.empty((0, STEREO), np.float32), *blocks])
    if not len(mix):
        return
    separated = engine.separate(mix, stems)
    del mix
    for first in range(0, len(separated[0]), SEGMENT_STEP):
        pieces = [split_block(stem[first : first + SEGMENT_STEP]) for stem in separated]
        yield zip(*pieces, strict=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spectra:
    """The spectra of one segment of the mix.

    Attributes:
        in_file: which of the resulting samples lie in the file; see `Segment.in_file`.
        values: `(2, SEGMENT_FRAMES, kept bins)` complex64, by channel.
        magnitudes: `(SEGMENT_FRAMES, bins, 2)` float32, for the network.
    """

    in_file: slice
    values: NDArray[np.complex64]
    magnitudes: NDArray[np.float32]


def _transformed(
    blocks: Iterable[NDArray[np.float32]], engine: Engine, transform: Transform, kept_bins: int
) -> Iterator[_Spectra]:
    for segment in segments(blocks, STEREO):
        values = np.empty((STEREO, SEGMENT_FRAMES, kept_bins), np.complex64)
        magnitudes = np.empty((SEGMENT_FRAMES, engine.bins, STEREO), np.float32)
        for channel, samples in enumerate(segment.samples):
            frames = frames_of(samples)
            for part in _PARTS:
                spectra = transform.forward(frames[part])[:, :kept_bins]
                values[channel, part] = spectra
                # Not `abs`: with contiguous results, NumPy's error is up to 1.8 ulp. The stems
                # would then differ from Spleeter's by 3e-7, ten times as much as with hypotf.
                lower = spectra[:, : engine.bins]
                np.hypot(lower.real, lower.imag, out=magnitudes[part, :, channel])
        yield _Spectra(in_file=segment.in_file, values=values, magnitudes=magnitudes)


def _with_masks(spectra: Iterator[_Spectra], engine: Engine) -> Iterator[tuple[_Spectra, Arrays]]:
    for segment in spectra:
        yield segment, engine.masks(segment.magnitudes)


def _stem_pieces(
    segment: _Spectra,
    masks: Sequence[NDArray[np.float32]],
    adders: Sequence[Sequence[OverlapAdd]],
    transform: Transform,
) -> Iterator[Arrays]:
    for part in _PARTS:
        in_file = part_in_file(segment.in_file, part.start * HOP_LENGTH, BLOCK_FRAMES)
        stems = [np.empty((in_file.stop - in_file.start, STEREO), np.float32) for _ in masks]
        for stem, mask, stem_adders in zip(stems, masks, adders, strict=True):
            for channel, adder in enumerate(stem_adders):
                spectra = _masked_spectra(segment.values[channel, part], mask[part, :, channel])
                stem[:, channel] = adder.add(transform.inverse(spectra))[in_file]
        if in_file.stop > in_file.start:
            yield tuple(stems)


def _masked_spectra(
    spectra: NDArray[np.complex64], mask: NDArray[np.float32]
) -> NDArray[np.complex64]:
    """Apply a mask to the spectra of one channel and return all `STFT_BINS` bins.

    The mask covers the bins that the network processes. Higher bins of `spectra` are multiplied by
    the mean of the frame's mask, like "average", a `mask_extension` of Spleeter's configurations.
    Bins that `spectra` lacks are 0, like "zeros".
    """
    bins, kept_bins = mask.shape[1], spectra.shape[1]
    masked = np.zeros((len(spectra), STFT_BINS), np.complex64)
    np.multiply(spectra[:, :bins], mask, out=masked[:, :bins])
    if kept_bins > bins:
        mean = mask.mean(axis=1, keepdims=True)
        np.multiply(spectra[:, bins:], mean, out=masked[:, bins:kept_bins])
    return masked
