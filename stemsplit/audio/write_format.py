"""Runs in both. The form in which stems are written: container, bit depth, rates, clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.formats import LOSSY
from stemsplit.core.settings import MODEL_SAMPLE_RATE

if TYPE_CHECKING:
    from stemsplit.core.audio_info import PcmDepth
    from stemsplit.core.settings import Clip, StemFormat

DITHERED_BITS = 16
"""So many bits and fewer are dithered; the rounding error of 24 bits is below any noise there is
(docs/audio.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFormat:
    """How samples are put into a file.

    Attributes:
        format: the container.
        bit_depth: of `wav` and `flac`.
        sample_rate: in Hz.
        bit_rate: of a lossy format, in bits a second; None is its own.
        clip: what becomes of samples beyond full scale.
        dither: whether noise takes the place of the rounding error's pattern.
    """

    format: StemFormat = "wav"
    bit_depth: PcmDepth = "24"
    sample_rate: int = MODEL_SAMPLE_RATE
    bit_rate: int | None = None
    clip: Clip = "clamp"
    dither: bool = False

    @property
    def bits(self) -> int | None:
        """The bits of an integer sample; None where samples are floating point."""
        if self.format in LOSSY or self.bit_depth == "32f":
            return None
        return int(self.bit_depth)


def clip_of(wanted: Clip | None, stem_format: StemFormat, bit_depth: PcmDepth) -> Clip:
    """Give what becomes of samples beyond full scale where nothing is said: `32f` keeps them."""
    if wanted is not None:
        return wanted
    return "none" if stem_format == "wav" and bit_depth == "32f" else "clamp"
