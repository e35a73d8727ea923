"""Runs in the child. Parses the frame headers of MPEG audio, AAC in ADTS and AC-3.

Layouts: ISO/IEC 11172-3 and 13818-3 (MPEG audio), ISO/IEC 13818-7 (ADTS), ETSI TS 102 366 (AC-3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from stemsplit.audio.containers.file_bytes import FileBytes

SYNC_WORD = re.compile(rb"\xff[\xe2-\xf7\xfa-\xff][\x10-\xef]|\xff[\xf0\xf1\xf8\xf9]|\x0b\x77")
"""Matches where a frame of any of these formats may start."""

_HEADER_BYTES = 7


class FrameFormat(NamedTuple):
    """What all frames of a stream have in common.

    Attributes:
        demuxer: FFmpeg's name for the stream's container.
        version: MPEG version and layer, AAC profile, or AC-3 bit stream identification.
        sample_rate: in Hz.
        channels: number of channels, or ADTS channel configuration; 0 for AC-3, whose decoders
            need no restart when the channels change.
        samples: per frame and channel.
    """

    demuxer: str
    version: int
    sample_rate: int
    channels: int
    samples: int

    @property
    def is_mpeg_audio(self) -> bool:
        """Whether it is MPEG audio of any layer."""
        return self.demuxer == "mp3"

    @property
    def is_layer_3(self) -> bool:
        """Whether it is MPEG audio of layer III."""
        return self.is_mpeg_audio and self.version & 3 == 3  # noqa: PLR2004 - the layer

    @property
    def is_mpeg_1(self) -> bool:
        """Whether it is MPEG audio of version 1."""
        return self.is_mpeg_audio and self.version >> 2 == _MPEG_1


def read_frame_header(data: FileBytes, at: int) -> tuple[int, FrameFormat] | None:
    """Return the size in bytes and the format of the frame at `at`; None if there is no frame."""
    head = data[at : at + _HEADER_BYTES]
    if len(head) < _HEADER_BYTES:
        return None
    for parse in _PARSERS:
        found = parse(head)
        if found is not None:
            return found
    return None


_MPEG_1 = 3
"""Value of the version field."""

_MPEG_2_KBITS = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
_MPEG_KBITS = {
    (True, 1): [0, *range(32, 449, 32)],
    (True, 2): [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    (True, 3): [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    (False, 1): [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    (False, 2): _MPEG_2_KBITS,
    (False, 3): _MPEG_2_KBITS,
}
"""Bit rates in kbit/s, by (is MPEG-1, layer)."""

_MPEG_SAMPLE_RATES = {
    3: [44_100, 48_000, 32_000],
    2: [22_050, 24_000, 16_000],
    0: [11_025, 12_000, 8_000],
}
"""Sample rates in Hz, by the version field: MPEG-1, MPEG-2 and MPEG-2.5."""


def _parse_mpeg(head: bytes) -> tuple[int, FrameFormat] | None:
    """Parse an MPEG audio header into the frame's size in bytes and format; None if it is invalid.

    Free-format frames are rejected: their headers do not give their size.
    """
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    if head[0] != 0xFF or head[1] < 0xE0 or version == 1 or layer == 4:  # noqa: PLR2004 - reserved
        return None
    if not 0 < bit_rate < 15 or rate == 3 or head[3] & 3 == 2:  # noqa: PLR2004 - reserved
        return None
    is_mpeg_1 = version == _MPEG_1
    sample_rate = _MPEG_SAMPLE_RATES[version][rate]
    samples = {1: 384, 2: 1152, 3: 1152 if is_mpeg_1 else 576}[layer]
    bits, padding = _MPEG_KBITS[is_mpeg_1, layer][bit_rate] * 1000, head[2] >> 1 & 1
    if layer == 1:
        size = (12 * bits // sample_rate + padding) * 4
    else:
        size = samples // 8 * bits // sample_rate + padding
    channels = 1 if head[3] >> 6 == 3 else 2  # noqa: PLR2004 - mono
    return size, FrameFormat("mp3", version << 2 | layer, sample_rate, channels, samples)


_ADTS_SAMPLE_RATES = (
    *(96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000),
    *(22_050, 16_000, 12_000, 11_025, 8_000, 7_350),
)


def _parse_adts(head: bytes) -> tuple[int, FrameFormat] | None:
    """Parse an ADTS header into the frame's size in bytes and format; None if it is invalid."""
    rate = head[2] >> 2 & 15
    is_sync = head[0] == 0xFF and head[1] & 0xF6 == 0xF0  # noqa: PLR2004 - the sync word
    if not is_sync or rate >= len(_ADTS_SAMPLE_RATES):
        return None
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    channels = (head[2] & 1) << 2 | head[3] >> 6
    blocks = (head[6] & 3) + 1
    header_bytes = 7 if head[1] & 1 else 9
    found = FrameFormat("aac", head[2] >> 6, _ADTS_SAMPLE_RATES[rate], channels, 1024 * blocks)
    return (size, found) if size > header_bytes else None


_AC3_KBITS = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160),
    *(192, 224, 256, 320, 384, 448, 512, 576, 640),
)
_AC3_MAX_BSID = 10


def _parse_ac3(head: bytes) -> tuple[int, FrameFormat] | None:
    """Parse an AC-3 header into the frame's size in bytes and format; None if it is invalid."""
    rate, size_code = head[4] >> 6, head[4] & 63
    if head[:2] != b"\x0b\x77" or rate == 3 or size_code >= 2 * len(_AC3_KBITS):  # noqa: PLR2004 - reserved
        return None
    bsid = head[5] >> 3
    if bsid > _AC3_MAX_BSID:
        return None
    sample_rate = (48_000, 44_100, 32_000)[rate]
    kbits = _AC3_KBITS[size_code >> 1]
    words = kbits * 1000 * 1536 // 16 // sample_rate + (size_code & 1 if rate == 1 else 0)
    return 2 * words, FrameFormat("ac3", bsid, sample_rate, 0, 1536)


_PARSERS = (_parse_mpeg, _parse_adts, _parse_ac3)
