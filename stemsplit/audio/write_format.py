"""Runs in the child. How stems are written: container, bit depth, rates, clipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.core.format_rates import LOSSY
from stemsplit.core.settings import MODEL_SAMPLE_RATE

if TYPE_CHECKING:
    from stemsplit.core.audio_info import PcmDepth
    from stemsplit.core.settings import Clip, StemFormat

DITHERED_BITS = 16
"""Largest bit depth that is dithered. The rounding error of 24 bits is below the noise of any
recording (docs/audio.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteFormat:
    """How samples are written to a file.

    Attributes:
        format: the container.
        bit_depth: bit depth of `wav` and `flac`.
        sample_rate: in Hz.
        bit_rate: bit rate of a lossy format, in bits per second; None for the default.
        clip: how to handle samples beyond full scale.
        dither: whether to add dither noise before rounding.
    """

    format: StemFormat = "wav"
    bit_depth: PcmDepth = "24"
    sample_rate: int = MODEL_SAMPLE_RATE
    bit_rate: int | None = None
    clip: Clip = "clamp"
    dither: bool = False

    @property
    def bits(self) -> int | None:
        """Bits of an integer sample; None if samples are floating point."""
        if self.format in LOSSY or self.bit_depth == "32f":
            return None
        return int(self.bit_depth)


def resolve_clip(requested: Clip | None, stem_format: StemFormat, bit_depth: PcmDepth) -> Clip:
    """Return how to handle samples beyond full scale: by default, `32f` keeps them."""
    if requested is not None:
        return requested
    return "none" if stem_format == "wav" and bit_depth == "32f" else "clamp"
