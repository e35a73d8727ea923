"""Runs in the child. Blocks of a mix in, blocks of its stems out; memory for one segment only.

Knows an engine by its protocol and nothing of files, processes or TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stemsplit.audio.stft import OverlapAdd, Transform, frames_of, segments
from stemsplit.job import STEREO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from stemsplit.audio.stft import Segment
    from stemsplit.child.engines import Engine


def separate(
    blocks: Iterable[NDArray[np.float32]], engine: Engine, transform: Transform
) -> Iterator[tuple[NDArray[np.float32], ...]]:
    """Separate a stream of audio as Spleeter separates a whole file.

    Args:
        blocks: the mix, `(frames, 2)` float32 each, at 44.1 kHz.
        engine: runs the network.
        transform: from samples to spectra and back.

    Yields:
        for each segment one array of `(frames, 2)` float32 for each of the engine's stems, all of
        the same length. Put together they are exactly as long as the mix.
    """
    adders = [[OverlapAdd() for _ in range(STEREO)] for _ in engine.stems]
    for segment in segments(blocks, STEREO):
        spectra = [transform.forward(frames_of(channel)) for channel in segment.samples]
        masks = engine.masks(_magnitudes(spectra, engine.bins))
        yield tuple(
            _resynthesise(spectra, mask, stem_adders, segment, transform)
            for mask, stem_adders in zip(masks, adders, strict=True)
        )


def _magnitudes(spectra: list[NDArray[np.complex64]], bins: int) -> NDArray[np.float32]:
    magnitudes = np.empty((len(spectra[0]), bins, STEREO), np.float32)
    for channel, spectrum in enumerate(spectra):
        np.abs(spectrum[:, :bins], out=magnitudes[:, :, channel])
    return magnitudes


def _resynthesise(
    spectra: list[NDArray[np.complex64]],
    mask: NDArray[np.float32],
    adders: list[OverlapAdd],
    segment: Segment,
    transform: Transform,
) -> NDArray[np.float32]:
    bins = mask.shape[1]
    stem = np.empty((segment.settled.stop - segment.settled.start, STEREO), np.float32)
    for channel, (spectrum, adder) in enumerate(zip(spectra, adders, strict=True)):
        masked = np.zeros_like(spectrum)  # above the bins that the network sees, masks are zero
        np.multiply(spectrum[:, :bins], mask[:, :, channel], out=masked[:, :bins])
        stem[:, channel] = adder.add(transform.inverse(masked))[segment.settled]
    return stem
