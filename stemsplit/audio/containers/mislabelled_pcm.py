"""Runs in the child. Detects compressed audio that is labelled as PCM.

A CD with DTS audio is ripped to a WAV file whose 16-bit samples are DTS and play as white noise.
The same happens with AC-3 from a DVD's digital output, or a WAV header in front of an MP3 stream.
"""

from __future__ import annotations

import re
from io import BytesIO
from itertools import pairwise

from stemsplit.audio.containers.file_bytes import FileBytes
from stemsplit.audio.containers.frame_runs import first_frame, frame_runs

_INSPECTED_BYTES = 1 << 16
_MAX_SILENT_BYTES = 1 << 20
"""Silence before the compressed audio is skipped up to this length."""

_DTS = re.compile(
    rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\x00\x07|\xff\x1f\x00\xe8[\xf0-\xff]\x07"
)
"""Sync words of the DTS core, of 16 and 14 bits in either byte order (ETSI TS 102 114, 5.3)."""

_IEC_61937 = re.compile(rb"\x72\xf8\x1f\x4e|\xf8\x72\x4e\x1f")
"""The preamble of compressed audio on a digital interface, in either byte order."""

_MAX_IEC_61937_BYTES = 1 << 16
_MAX_DTS_BYTES = 16_384
_MIN_GAP_BYTES = 96
_MIN_SYNC_WORDS = 3
_MAX_FRAME_BYTES = 2048
_MIN_FRAMES = 8


def demuxer_of(data: FileBytes, start: int, end: int) -> str:
    """Detect what the bytes from `start` to `end`, which are labelled as PCM, really hold.

    Returns:
        FFmpeg's name for the container; empty for PCM.
    """
    audible = _first_audible_bytes(data, start, end)
    if _recurs(_IEC_61937, audible, _MAX_IEC_61937_BYTES):
        return "spdif"
    if _recurs(_DTS, audible, _MAX_DTS_BYTES):
        return "dts"
    stream = FileBytes(BytesIO(audible))
    at = first_frame(stream, 0)
    if at is not None and at < _MAX_FRAME_BYTES:  # what precedes it is the rest of another frame
        run = next(frame_runs(stream, at))
        if run.count >= _MIN_FRAMES and run.end - run.start > len(audible) / 2:
            return run.format.demuxer
    return ""


def _first_audible_bytes(data: FileBytes, start: int, end: int) -> bytes:
    """Read the first bytes after leading zeros."""
    at = start
    while at < min(end, start + _MAX_SILENT_BYTES):
        block = data[at : min(at + _INSPECTED_BYTES, end)]
        stripped = block.lstrip(b"\0")
        if len(stripped) >= len(block) / 2 or not block:
            return stripped
        at += max(len(block) - len(stripped), 1)
    return b""


def _recurs(sync_word: re.Pattern[bytes], data: bytes, max_gap: int) -> bool:
    """Return whether a sync word recurs too regularly to be a coincidence."""
    offsets = [match.start() for match in sync_word.finditer(data)]
    gaps = [after - before for before, after in pairwise(offsets)]
    if len(offsets) < _MIN_SYNC_WORDS or offsets[0] > max_gap:
        return False
    return sum(_MIN_GAP_BYTES <= gap <= max_gap for gap in gaps) >= max(
        _MIN_SYNC_WORDS - 1, len(gaps) / 2
    )
