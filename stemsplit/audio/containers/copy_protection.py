"""Runs in the child. Detects copy protection: files that decode to noise without an external key.

Checks what each format declares: the sample entries `drms`, `enca` and `aavd` of MP4 (Apple's
FairPlay; ISO/IEC 23001-7, common encryption; Audible), the encryption objects of ASF (Microsoft,
"Advanced Systems Format Specification", sections 3.14 and 3.15), `ContentEncryption` of Matroska
(RFC 9559, section 5.1.4.1.31.5), and the scrambling bits of MPEG transport streams (ISO/IEC
13818-1, section 2.4.3.3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from stemsplit.audio.containers import mp4_boxes
from stemsplit.audio.tagging.tag_key_search import ASF_HEADER

if TYPE_CHECKING:
    from stemsplit.audio.containers.file_bytes import FileBytes

_MP4_SCHEMES = {
    b"drms": "FairPlay",
    b"enca": "common encryption",
    b"aavd": "Audible",
    b"aaxc": "Audible",
}
_AUDIBLE_BRANDS = (b"aax ", b"aaxc")

_ASF_ENCRYPTION_OBJECTS = (
    b"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e",
    b"\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c",
)
_EBML = b"\x1a\x45\xdf\xa3"
_TRACKS, _CLUSTER = b"\x16\x54\xae\x6b", b"\x1f\x43\xb6\x75"
_CONTENT_ENCRYPTION = re.compile(
    rb"\x6d\x80[\x40-\xff].{0,7}?\x62\x40[\x40-\xff].{0,40}?\x50\x35[\x40-\xff]", re.DOTALL
)
"""`ContentEncryption` within `ContentEncoding` within `ContentEncodings`, close to each other."""

_MAX_HEADER_BYTES = 64 << 20
_TRANSPORT_PACKET_BYTES = 188
_TRANSPORT_PACKETS = 2_000


def protection_scheme(data: FileBytes) -> str:
    """Return the name of the file's copy protection; empty if no known scheme is found."""
    if data[4:8] == b"ftyp":
        return "Audible" if data[8:12] in _AUDIBLE_BRANDS else _mp4_scheme(data)
    if data[0:8] == ASF_HEADER:
        header = data[0 : min(int.from_bytes(data[16:24], "little"), _MAX_HEADER_BYTES)]
        is_encrypted = any(guid in header for guid in _ASF_ENCRYPTION_OBJECTS)
        return "Windows Media DRM" if is_encrypted else ""
    if data[0:4] == _EBML:
        tracks = data.find(_TRACKS, 0, _MAX_HEADER_BYTES)
        if tracks >= 0:
            end = data.find(_CLUSTER, tracks, _MAX_HEADER_BYTES)
            header = data[tracks : max(end, tracks + (1 << 16))]
            return "Matroska encryption" if _CONTENT_ENCRYPTION.search(header) else ""
    if data[0:1] == b"G" and data[_TRANSPORT_PACKET_BYTES : _TRANSPORT_PACKET_BYTES + 1] == b"G":
        return _transport_stream_scheme(data)
    return ""


def _mp4_scheme(data: FileBytes) -> str:
    entries = mp4_boxes.sample_entries(data, 0, len(data))
    return next((_MP4_SCHEMES[entry] for entry in entries if entry in _MP4_SCHEMES), "")


def _transport_stream_scheme(data: FileBytes) -> str:
    scrambled = total = 0
    for at in range(0, _TRANSPORT_PACKETS * _TRANSPORT_PACKET_BYTES, _TRANSPORT_PACKET_BYTES):
        head = data[at : at + 4]
        if len(head) == 4 and head[0] == ord("G") and head[3] & 0x10:  # noqa: PLR2004 - bytes
            total += 1
            scrambled += bool(head[3] & 0xC0)
    return "a scrambled broadcast" if scrambled > total / 2 else ""
