"""Runs in the child. Reads the duration that the headers of ASF, AVI and DSF files declare.

If such a file is truncated, FFmpeg reduces the duration that it reports, so that nothing appears to
be missing. Layouts: Microsoft, "Advanced Systems Format Specification", section 3.2, and "AVI RIFF
File Reference"; Sony, "DSF File Format Specification" 1.01.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import Part
from stemsplit.audio.tagging.tag_key_search import ASF_HEADER

if TYPE_CHECKING:
    from stemsplit.audio.containers.file_bytes import FileBytes

_FILE_PROPERTIES = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"
_ASF_TIMES = struct.Struct("<64xQ8xQI")
"""Play duration in units of 100 ns, preroll in ms and flags, from the start of the object."""

_BROADCAST_FLAG = 1
_AVI_STREAM_HEADER = struct.Struct("<4s16xII4xI")
"""Type of the stream, scale, rate, and length in units of scale / rate seconds."""

_DSF_FORMAT = struct.Struct("<56xI4xQ")
"""Sample rate in Hz and samples per channel, from the start of the file."""

_HEADER_BYTES = 1 << 16
_TOLERANCE_SECONDS = 0.25
"""More than the first frame, which WMA decoders drop: 2,048 samples at 16 kHz are 0.13 s."""


def find_parts(data: FileBytes) -> list[Part]:
    """Return the file's only part with its declared duration; empty if it declares none."""
    try:
        if data[0:8] == ASF_HEADER:
            seconds = _asf_seconds(data)
        elif data[0:4] == b"DSD ":
            sample_rate, count = _DSF_FORMAT.unpack(data[0 : _DSF_FORMAT.size])
            seconds = count / sample_rate
        else:
            seconds = _avi_seconds(data)
    except (struct.error, ZeroDivisionError):
        return []
    if seconds <= 0:
        return []
    return [
        Part(
            declared_seconds=seconds, tolerance_seconds=_TOLERANCE_SECONDS, can_use_libsndfile=False
        )
    ]


def _asf_seconds(data: FileBytes) -> float:
    at = data.find(_FILE_PROPERTIES, 0, _HEADER_BYTES)
    if at < 0:
        return 0.0
    duration, preroll, flags = _ASF_TIMES.unpack(data[at : at + _ASF_TIMES.size])
    return 0.0 if flags & _BROADCAST_FLAG else duration / 1e7 - preroll / 1e3


def _avi_seconds(data: FileBytes) -> float:
    at = data.find(b"strh", 0, _HEADER_BYTES)
    while at >= 0:
        header = data[at + 8 : at + 8 + _AVI_STREAM_HEADER.size]
        stream_type, scale, rate, length = _AVI_STREAM_HEADER.unpack(header)
        if stream_type == b"auds":
            return float(length * scale / rate)
        at = data.find(b"strh", at + 4, _HEADER_BYTES)
    return 0.0
