"""Runs in both. How long a WMA or other ASF file says that it is.

FFmpeg shortens that with the file, if it is cut off. Layout: Microsoft, "Advanced Systems Format
Specification", section 3.2.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from stemsplit.audio.containers.parts import Part

if TYPE_CHECKING:
    from stemsplit.audio.containers.window import FileBytes

MAGIC = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_FILE_PROPERTIES = b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65"
_HEADER_BYTES = 1 << 16
_TIMES = struct.Struct("<64xQ8xQI")
"""Play duration in units of 100 ns, preroll in ms, and flags, from the object's first byte."""

_IS_BROADCAST = 1
_TOLERATED_SECONDS = 0.25
"""More than the frame with which WMA decoders begin late: 2,048 samples at 16 kHz are 0.13 s."""


def survey(data: FileBytes) -> list[Part]:
    """Return the one part of an ASF file, with its length; empty where that is not declared."""
    at = data.find(_FILE_PROPERTIES, 0, _HEADER_BYTES)
    properties = data[at : at + _TIMES.size]
    if at < 0 or len(properties) < _TIMES.size:
        return []
    duration, preroll, flags = _TIMES.unpack(properties)
    seconds = duration / 1e7 - preroll / 1e3
    if flags & _IS_BROADCAST or seconds <= 0:
        return []
    part = Part(
        declared_seconds=seconds, tolerated_seconds=_TOLERATED_SECONDS, is_for_libsndfile=False
    )
    return [part]
