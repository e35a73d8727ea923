"""Runs in the child. Finds the parts of MP3 files and other streams of frames (MP2, ADTS, AC-3).

The duration lost to damage is estimated from the mean size of the frames, unless a header declares
the number of frames.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from stemsplit.audio.containers.frame_runs import first_frame, frame_runs
from stemsplit.audio.containers.parts import ByteRange, Part
from stemsplit.audio.containers.tag_blocks import skip_tags
from stemsplit.audio.containers.xing_header import corrected_frame, read_xing_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.audio.containers.file_bytes import FileBytes
    from stemsplit.audio.containers.frame_headers import FrameFormat
    from stemsplit.audio.containers.frame_runs import FrameRun
    from stemsplit.audio.containers.xing_header import XingHeader

_MAX_UNKNOWN_TAG_BYTES = 65_536
"""Fewer bytes than this after the last frame may be an unknown tag."""


def find_parts(data: FileBytes, start: int) -> list[Part]:
    """Find the parts of a stream of frames that starts after the tags that end at `start`.

    Returns:
        its parts, in order; empty if the file is not such a stream.
    """
    first = first_frame(data, start)
    if first is None:
        return []
    files: list[list[FrameRun]] = []
    for run in frame_runs(data, first):
        if run.is_file_start:
            files.append([])
        files[-1].append(run)
    covered = sum(run.end - run.start for runs in files for run in runs)
    if covered < (len(data) - first) / 2:
        return []  # frames inside another kind of file, or too few to be sure
    headers = [
        read_xing_header(data, runs[0].start, runs[0].header_offset)
        if runs[0].header_offset
        else None
        for runs in files
    ]
    parts = [
        part
        for runs, header in zip(files, headers, strict=True)
        for part in _parts_of_file(
            data, runs, header, _frames_lost_at_end(data, runs[-1]) if runs is files[-1] else 0
        )
    ]
    header = headers[0]
    if len(parts) == 1 and (header is None or header.matches(files[0][0].count)):
        can_use_libsndfile = header is not None and header.is_xing
        return [replace(parts[0], pieces=None, demuxer="", can_use_libsndfile=can_use_libsndfile)]
    return parts


def _parts_of_file(
    data: FileBytes, runs: Sequence[FrameRun], header: XingHeader | None, lost_at_end: int
) -> Iterator[Part]:
    frame_format = runs[0].format
    counts = [run.count for run in runs]
    counts[0] -= header is not None
    lost = _frames_lost_before(runs, sum(counts), header)
    total = sum(counts) + sum(lost)
    declared = header.frames if header is not None else 0
    is_cut_off = not declared and (runs[-1].is_cut_off or _ends_in_zeros(data, runs[-1]))
    added = header.trimmed_start + header.trimmed_end if header is not None else 0
    declared_seconds = _seconds(declared or total + lost_at_end, added, frame_format)
    for index, (run, count, lost_frames) in enumerate(zip(runs, counts, lost, strict=True)):
        is_first, is_last = index == 0, index == len(runs) - 1
        start, trimmed = run.start, 0
        keeps_padding = is_last and header is not None and declared == total
        if header is not None and keeps_padding:
            trimmed += header.trimmed_end
        frame = b""
        if header is not None and is_first:
            start += header.frame_bytes
            trimmed += header.trimmed_start
            if header.is_xing:
                frame = corrected_frame(
                    data,
                    header,
                    frames=run.count - 1,
                    stream_bytes=run.end - run.start,
                    keeps_padding=keeps_padding,
                )
        present = ByteRange(start, run.end)
        yield Part(
            pieces=(frame, present) if frame else (present,),
            counted_seconds=_seconds(count, trimmed, frame_format),
            lost_seconds=_seconds(lost_frames, 0, frame_format),
            declared_seconds=float(declared_seconds) if is_first else None,
            can_use_libsndfile=bool(frame),
            demuxer="" if frame else frame_format.demuxer,
            is_cut_off=is_cut_off and is_last,
            is_file_start=is_first,
        )


def _seconds(frames: int, trimmed: int, frame_format: FrameFormat) -> Fraction:
    return Fraction(max(frames * frame_format.samples - trimmed, 0), frame_format.sample_rate)


def _frames_lost_before(
    runs: Sequence[FrameRun], found: int, header: XingHeader | None
) -> list[int]:
    """Return how many frames were lost before each run.

    Overwritten bytes replace frames, inserted bytes do not. The header tells the two apart; without
    one, the bytes are assumed to be overwritten.
    """
    frame_bytes = sum(run.end - run.start for run in runs) / max(sum(run.count for run in runs), 1)
    lost = [round(run.junk_bytes / frame_bytes) if index else 0 for index, run in enumerate(runs)]
    if header is not None and header.frames and any(lost):
        excess = sum(lost) - max(header.frames - found, 0)
        for index in range(len(lost) - 1, -1, -1):
            removed = min(max(excess, 0), lost[index])
            lost[index] -= removed
            excess -= removed
        has_one_gap = sum(frames > 0 for frames in lost) == 1
        if excess < 0 and has_one_gap and -excess <= sum(lost):
            lost[lost.index(max(lost))] -= excess
    return lost


def _frames_lost_at_end(data: FileBytes, run: FrameRun) -> int:
    """Estimate how many frames the damaged bytes after the last run have replaced."""
    at = skip_tags(data, run.end)
    rest = len(data) - at
    if rest < _MAX_UNKNOWN_TAG_BYTES or data.is_zero(at):
        return 0
    return round(rest * run.count / max(run.end - run.start, 1))


def _ends_in_zeros(data: FileBytes, run: FrameRun) -> bool:
    """Return whether many zeros follow the last run, as in an unfinished download."""
    return len(data) - run.end >= _MAX_UNKNOWN_TAG_BYTES and data.is_zero(run.end)
