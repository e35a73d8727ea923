"""Runs in the child. Blocks of a mix in, blocks of its stems out; memory for one segment only.

Knows an engine by its protocol and nothing of files, processes or TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.stft import SEGMENT_STEP, OverlapAdd, Transform, frames_of, segments
from stemsplit.job import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from stemsplit.audio.stft import Segment
    from stemsplit.child.engines import Engine, WholeFileEngine
    from stemsplit.job import HighBand


def separate(
    blocks: Iterable[NDArray[np.float32]],
    engine: Engine,
    transform: Transform,
    *,
    stems: Sequence[str] | None = None,
    high_band: HighBand = "zeros",
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """Separate a stream of audio as Spleeter separates a whole file.

    Args:
        blocks: the mix, `(frames, 2)` float32 each, at 44.1 kHz.
        engine: runs the network.
        transform: from samples to spectra and back; back only for the stems that are wanted.
        stems: which of the engine's stems are wanted; None is all of them.
        high_band: what they hold above the frequencies that the network sees.

    Yields:
        for each segment one array of `(frames, 2)` float32 for each of the stems, all of the same
        length. Put together they are exactly as long as the mix.
    """
    wanted = [engine.stems.index(stem) for stem in engine.stems if stems is None or stem in stems]
    adders = [[OverlapAdd() for _ in range(STEREO)] for _ in wanted]
    for segment in segments(blocks, STEREO):
        spectra = [transform.forward(frames_of(channel)) for channel in segment.samples]
        masks = engine.masks(_magnitudes(spectra, engine.bins))
        yield tuple(
            _resynthesise(
                (_masked(spectra, masks[stem], high_band, channel) for channel in range(STEREO)),
                stem_adders,
                segment,
                transform,
            )
            for stem, stem_adders in zip(wanted, adders, strict=True)
        )


def separate_at_once(
    blocks: Iterable[NDArray[np.float32]], engine: WholeFileEngine, stems: Sequence[str]
) -> Iterator[tuple[NDArray[np.float32], ...]]:
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
        yield tuple(stem[first : first + SEGMENT_STEP] for stem in separated)


def _magnitudes(spectra: list[NDArray[np.complex64]], bins: int) -> NDArray[np.float32]:
    magnitudes = np.empty((len(spectra[0]), bins, STEREO), np.float32)
    for channel, spectrum in enumerate(spectra):
        np.abs(spectrum[:, :bins], out=magnitudes[:, :, channel])
    return magnitudes


def _masked(
    spectra: list[NDArray[np.complex64]],
    mask: NDArray[np.float32],
    high_band: HighBand,
    channel: int,
) -> NDArray[np.complex64]:
    """Apply a mask to one channel.

    Above the bins that the network sees there is no mask. "average" puts the mean of a frame's mask
    there, as `mask_extension` of Spleeter's configurations does; "zeros" nothing.
    """
    spectrum = spectra[channel]
    bins = mask.shape[1]
    masked = np.zeros_like(spectrum)
    np.multiply(spectrum[:, :bins], mask[:, :, channel], out=masked[:, :bins])
    if high_band == "average":
        mean = mask[:, :, channel].mean(axis=1, keepdims=True)
        np.multiply(spectrum[:, bins:], mean, out=masked[:, bins:])
    return masked


def _resynthesise(
    masked: Iterable[NDArray[np.complex64]],
    adders: list[OverlapAdd],
    segment: Segment,
    transform: Transform,
) -> NDArray[np.float32]:
    stem = np.empty((segment.settled.stop - segment.settled.start, STEREO), np.float32)
    for channel, (spectrum, adder) in enumerate(zip(masked, adders, strict=True)):
        stem[:, channel] = adder.add(transform.inverse(spectrum))[segment.settled]
    return stem
