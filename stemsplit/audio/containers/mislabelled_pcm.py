"""Runs in both. Compressed sound that is labelled as PCM.

A CD with DTS sound is ripped to a WAV file whose 16-bit samples are DTS, and plays as white noise;
so does AC-3 from a DVD's digital output, or a WAV header put before an MP3 stream.
"""

from __future__ import annotations

import re
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING

from stemsplit.audio.containers import frames
from stemsplit.audio.containers.byte_view import FileBytes

if TYPE_CHECKING:
    from io import RawIOBase

_SNIFFED_BYTES = 1 << 16
_SILENT_BYTES = 1 << 20
"""Silence may stand before the compressed sound; it is skipped up to so much."""

_DTS = re.compile(
    rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\x00\x07|\xff\x1f\x00\xe8[\xf0-\xff]\x07"
)
"""Sync words of the DTS core, of 16 and 14 bits in either byte order (ETSI TS 102 114, 5.3)."""

_IEC_61937 = re.compile(rb"\x72\xf8\x1f\x4e|\xf8\x72\x4e\x1f")
"""The preamble of compressed sound in a digital connection, in either byte order."""

_LEAST_SYNCS = 3
_LEAST_GAP_BYTES, _LARGEST_DTS_BYTES = 96, 16_384


def demuxer_of(file: RawIOBase, first: int, end: int) -> str:
    """Find out what bytes that are labelled as PCM hold.

    Args:
        file: open for reading.
        first: the first byte.
        end: behind the last one.

    Returns:
        FFmpeg's name of the format; empty for PCM.
    """
    data = _sound(file, first, end)
    if _recurs(_IEC_61937, data, 1 << 16):
        return "spdif"
    if _recurs(_DTS, data, _LARGEST_DTS_BYTES):
        return "dts"
    stream = FileBytes(BytesIO(data))
    at = frames.first_frame(stream, 0)
    if at is not None and at < 2048:  # noqa: PLR2004 - bytes: the rest of one frame
        run = next(frames.walk(stream, at))
        if run.count >= 8 and (run.end - run.first) > len(data) / 2:  # noqa: PLR2004 - no accident
            return run.kind.demuxer
    return ""


def _sound(file: RawIOBase, first: int, end: int) -> bytes:
    """Read the first bytes that are not all zero."""
    at = first
    while at < min(end, first + _SILENT_BYTES):
        file.seek(at)
        data = file.read(min(_SNIFFED_BYTES, end - at)) or b""
        stripped = data.lstrip(b"\0")
        if len(stripped) >= len(data) / 2 or not data:
            return stripped
        at += max(len(data) - len(stripped), 1)
    return b""


def _recurs(sync: re.Pattern[bytes], data: bytes, most: int) -> bool:
    """Tell whether a sync word comes back again and again, so that it is no accident."""
    places = [match.start() for match in sync.finditer(data)]
    gaps = [later - before for before, later in pairwise(places)]
    if len(places) < _LEAST_SYNCS or places[0] > most:
        return False
    return sum(_LEAST_GAP_BYTES <= gap <= most for gap in gaps) >= max(
        _LEAST_SYNCS - 1, len(gaps) / 2
    )
