"""Runs in both. How long ASF, AVI and DSF files say that they are.

FFmpeg shortens what such files declare when they are cut off, so that nothing seems to be missing.
Layouts: Microsoft, "Advanced Systems Format Specification", section 3.2, and "AVI RIFF File
Reference"; Sony, "DSF File Format Specification" 1.01.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import Part

if TYPE_CHECKING:
    from stemsplit.audio.containers.byte_view import FileBytes

ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_FILE_PROPERTIES = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"
_ASF_TIMES = struct.Struct("<64xQ8xQI")
"""Play duration in units of 100 ns, preroll in ms, and flags, from the object's first byte."""

_IS_BROADCAST = 1
_AVI_STREAM = struct.Struct("<4s16xII4xI")
"""Of a stream's header: its kind, scale, rate, and its length in units of scale / rate seconds."""

_DSF_FORMAT = struct.Struct("<56xI4xQ")
"""Samples a second and samples of each channel, from the first byte of the file."""

_HEADER_BYTES = 1 << 16
_TOLERATED_SECONDS = 0.25
"""More than the frame with which WMA decoders begin late: 2,048 samples at 16 kHz are 0.13 s."""


def survey(data: FileBytes) -> list[Part]:
    """Return the one part of such a file with its length; empty where that is not declared."""
    try:
        if data[0:8] == ASF:
            seconds = _asf(data)
        elif data[0:4] == b"DSD ":
            rate, count = _DSF_FORMAT.unpack(data[0 : _DSF_FORMAT.size])
            seconds = count / rate
        else:
            seconds = _avi(data)
    except (struct.error, ZeroDivisionError):
        return []
    if seconds <= 0:
        return []
    return [
        Part(
            declared_seconds=seconds, tolerated_seconds=_TOLERATED_SECONDS, is_for_libsndfile=False
        )
    ]


def _asf(data: FileBytes) -> float:
    at = data.find(_FILE_PROPERTIES, 0, _HEADER_BYTES)
    if at < 0:
        return 0.0
    duration, preroll, flags = _ASF_TIMES.unpack(data[at : at + _ASF_TIMES.size])
    return 0.0 if flags & _IS_BROADCAST else duration / 1e7 - preroll / 1e3


def _avi(data: FileBytes) -> float:
    at = data.find(b"strh", 0, _HEADER_BYTES)
    while at >= 0:
        header = data[at + 8 : at + 8 + _AVI_STREAM.size]
        kind, scale, rate, length = _AVI_STREAM.unpack(header)
        if kind == b"auds":
            return float(length * scale / rate)
        at = data.find(b"strh", at + 4, _HEADER_BYTES)
    return 0.0
