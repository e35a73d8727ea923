"""Runs in the child. Finds the parts of FLAC files: joined files, and what follows damage.

The header of the file is a hint; its frames are checked (`flac_frames`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from stemsplit.audio.containers.flac_frames import (
    MAGIC,
    SYNC_CODE,
    StreamInfo,
    frames_in_order,
    intact_frame_ends,
    read_frame,
    read_stream_info,
)
from stemsplit.audio.containers.parts import ByteRange, Part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.audio.containers.file_bytes import FileBytes

_MAX_SMALL_TAG_BYTES = 4096
"""Tags after the last frame that do not require checking every frame."""

_SAMPLED_SHARES = (0.0, 0.07, 0.19, 0.31, 0.47, 0.53, 0.71, 0.83, 0.97)
"""Where frames are sampled, as shares of the file. Simple fractions would hit the same frames in
each of two or three identical files that were joined."""

_MAX_MAGICS = 10_000
"""Occurrences of `fLaC` that are checked in a file."""


def find_parts(data: FileBytes, start: int, *, thorough: bool = False) -> list[Part]:
    """Find the parts of a FLAC file.

    Args:
        data: the file.
        start: where it starts, after other tags.
        thorough: check every frame even if the file ends where the header says. That takes about as
            long as decoding.

    Returns:
        its parts, in order; empty if its header cannot be read.
    """
    info = read_stream_info(data, start)
    if info is None:
        return []
    if not thorough and _is_in_order(data, info) and _ends_as_declared(data, info):
        return [Part(declared_seconds=info.samples / info.sample_rate)]
    parts: list[Part] = []
    rejected = 0
    while info is not None:
        end = data.find(MAGIC, info.frames_start)
        while end >= 0 and rejected < _MAX_MAGICS and read_stream_info(data, end) is None:
            end, rejected = data.find(MAGIC, end + 1), rejected + 1
        end = -1 if rejected >= _MAX_MAGICS else end
        parts += _parts_of_file(data, info, len(data) if end < 0 else end)
        info = None if end < 0 else read_stream_info(data, end)
    return parts


def _is_in_order(data: FileBytes, info: StreamInfo) -> bool:
    """Return whether the numbers of sampled frames rise, unlike those of joined files."""
    previous = -1
    for share in _SAMPLED_SHARES:
        start = info.frames_start + int((len(data) - info.frames_start) * share)
        end = start + 2 * info.max_frame_bytes
        found = (read_frame(data, at) for at, _ in data.finditer(SYNC_CODE, start, end))
        frame = next((frame for frame in found if frame is not None), None)
        if frame is None:  # near the end of a short file
            continue
        first_sample = frame.first_sample(info)
        if not previous <= first_sample < info.samples:
            return False
        previous = first_sample
    return True


def _ends_as_declared(data: FileBytes, info: StreamInfo) -> bool:
    """Return whether the last frame ends with the last sample that the header declares."""
    tail_start = max(len(data) - info.max_frame_bytes - _MAX_SMALL_TAG_BYTES, info.frames_start)
    for at, _ in data.finditer(SYNC_CODE, tail_start):
        frame = read_frame(data, at)
        if frame is not None and frame.first_sample(info) + frame.samples == info.samples:
            return True
    return False


def _parts_of_file(data: FileBytes, info: StreamInfo, end: int) -> Iterator[Part]:
    """Yield a part for each run of intact frames."""
    frames = frames_in_order(data, info, end)
    ends = intact_frame_ends(data, frames, end, info.max_frame_bytes)
    declared = info.samples / info.sample_rate or None
    position, index = 0, 0
    while index < len(frames):
        if not ends[index]:
            index += 1
            continue
        run_start, first_sample = frames[index].start, frames[index].first_sample(info)
        samples = 0
        while index < len(frames) and ends[index]:
            if frames[index].first_sample(info) != first_sample + samples:
                break
            samples += frames[index].samples
            index += 1
        yield Part(
            pieces=(info.file_header(samples), ByteRange(run_start, ends[index - 1])),
            counted_seconds=Fraction(samples, info.sample_rate),
            lost_seconds=Fraction(max(first_sample - position, 0), info.sample_rate),
            declared_seconds=declared,
            # libsndfile seeks to the first sample, which libFLAC then fails to find.
            can_use_libsndfile=first_sample == 0,
            demuxer="" if first_sample == 0 else "flac",
            is_file_start=position == 0,
        )
        position = first_sample + samples
        declared = None
