"""Runs in the supervisor. Recognises audio and video by the first bytes of a file.

Knows the containers that FFmpeg and libsndfile read and that have a signature. Calls no decoder: a
decoder that crashes would take the supervisor with it.
"""

# ruff: noqa: PLR2004 - masks and values of header fields, each used once
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES = 8192
"""Number of bytes that `is_media_head` needs."""

_AT_START = (
    # audio
    b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"dns.", b"wvpk", b"MAC ", b"MPCK", b"MP+", b"tBaK",
    b"TTA1", b"TTA2", b"ajkg", b"OFR ", b"DSD ", b"#!AMR", b"Creative Voice File", b"NIST_1A",
    b"PVF1", b"PVF2", b" paf", b"fap ", b"2BIT", b"Extended Instrument", b"ALawSoundFile**",
    b"TWIN97", b"ea3\x01", b"ea3\x03", b"EA3\x01", b"HCA\0", b"qoaf", b".SoX", b"XoS.", b"\x02dss",
    b"\x03dss", b"RSTM", b"FSTM", b"CSTM", b"FSB4", b"FSB5", b"VAGp", b"MMMD", b"OSQ ", b"RKA7",
    b"1bit", b"LFPS", b"\0BONK", b"\xf8\x06iamf", b"DTSHDHDR", b"BEGINCodec2", b"FORMDS16",
    b"\x64\xa3\x01\0", b"\x64\xa3\x02\0", b"\x64\xa3\x03\0", b"\x64\xa3\x04\0",
    b"\0\x01\xa3\x64", b"\0\x02\xa3\x64", b"\0\x03\xa3\x64", b"\0\x04\xa3\x64",
    b"\x7f\xfe\x80\x01", b"\xfe\x7f\x01\x80", b"\x1f\xff\xe8\0", b"\xff\x1f\0\xe8",
    # video, and containers of either
    b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"FLV\x01", b".RMF", b".ra\xfd",
    b"\0\0\x01\xba", b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", b"nut/multimedia container",
    b"\xb7\xd8\0\x20\x37\x49\xda\x11", b"NSVf", b"NSVs", b"\0\0\0\0\x01\xbc", b"CRID",
)  # fmt: skip

_CONTENT_TYPES = {
    # The first four bytes of the container, and the content types at offset 8.
    b"RIFF": (b"WAVE", b"AVI ", b"AMV ", b"CDXA", b"QLCM", b"XWMA"),
    b"RIFX": (b"WAVE",),
    b"RF64": (b"WAVE",),
    b"BW64": (b"WAVE",),
    b"FORM": (b"AIFF", b"AIFC", b"8SVX", b"16SV", b"MAUD"),
}

_AT_OFFSET = (
    (4, b"\x57\x90\x75\x36"),  # Audible's .aa
    (4, b"\xf8\x72\x6f\xba"),  # TrueHD
    (4, b"\xf8\x72\x6f\xbb"),  # MLP
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
)

_PICTURE_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"crx "})
"""Brands of MP4-like files that contain a picture."""

_TEXT = bytes(byte for byte in range(9, 256) if byte >= ord(" ") or byte in b"\t\n\f\r\x1b")
"""Bytes of text in any encoding but UTF-16, whose byte order mark no signature begins with."""

_MIN_FRAMES = 3
"""Number of consecutive frames that are required: a sync word of two bytes occurs by chance."""


def is_media_head(head: bytes) -> bool:
    """Return whether a file is audio or video.

    Args:
        head: the first `HEAD_BYTES` bytes of the file, or all if it is shorter.
    """
    if not head.translate(None, _TEXT):  # text that begins like a signature: "MAC addresses"
        return False
    if head.startswith(_AT_START) or head[8:12] in _CONTENT_TYPES.get(head[:4], ()):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURE_BRANDS
    return (
        any(head.startswith(signature, offset) for offset, signature in _AT_OFFSET)
        or (head.startswith(b"FRM8") and head[12:16] == b"DSD ")
        or (head.startswith(b"riff\x2e\x91\xcf\x11") and head[24:28] == b"wave")
        or (head.startswith(b"\x80\0") and b"(c)CRI" in head[:2048])
        or _is_transport_stream(head)
        or any(_has_frames(head, size) for size in (_mpeg_bytes, _adts_bytes, _ac3_bytes))
    )  # fmt: skip


def _is_transport_stream(head: bytes) -> bool:
    """Return whether sync bytes of MPEG-TS packets are at the right distance."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        sync = head[first : first + 8 * size : size]
        if len(sync) >= _MIN_FRAMES and set(sync) == {0x47} and len(head) >= 2 * size:
            return True
    return False


def _has_frames(head: bytes, frame_bytes: Callable[[bytes], int]) -> bool:
    position = 0
    for _ in range(_MIN_FRAMES):
        size = frame_bytes(head[position : position + 8])
        if size <= 0:
            return False
        position += size
    return position <= len(head)


_MPEG_KBITS = {
    # by version (1, or 2 and 2.5) and layer
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44_100, 48_000, 32_000)


def _mpeg_bytes(header: bytes) -> int:
    """Return the length of the MPEG audio frame with this header, 0 if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate_index, bits_index = header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or layer == 4 or rate_index == 3 or bits_index in {0, 15}:
        return 0
    halved = 0 if version == 3 else 1 if version == 2 else 2
    table = _MPEG_KBITS[min(halved, 1) + 1, layer if not halved else min(layer, 2)]
    bits, rate = table[bits_index - 1] * 1000, _MPEG_RATES[rate_index] >> halved
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // rate + padding) * 4
    return (72 if halved and layer == 3 else 144) * bits // rate + padding


def _adts_bytes(header: bytes) -> int:
    """Return the length of the AAC frame with this header, 0 if it is none."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5


_AC3_KBITS = (
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640
)  # fmt: skip


def _ac3_bytes(header: bytes) -> int:
    """Return the length of the AC-3 or E-AC-3 frame with this header, 0 if it is none."""
    if len(header) < 6 or header[:2] != b"\x0b\x77":
        return 0
    version = header[5] >> 3
    if 10 < version <= 16:  # E-AC-3 has its length in 16-bit words
        return 2 * ((header[2] & 7) << 8 | header[3]) + 2
    rate_index, size = header[4] >> 6, header[4] & 63
    if version > 16 or rate_index == 3 or size // 2 >= len(_AC3_KBITS):
        return 0
    bits = _AC3_KBITS[size // 2] * 1000
    rate = (48_000, 44_100, 32_000)[rate_index]
    return 2 * (bits * 1536 // rate // 16 + (size & 1 if rate == 44_100 else 0))
