"""Runs in the child. Walks streams of frames: MP3, MP2, AAC in ADTS and AC-3.

Such a stream needs no file header, and many have none or a wrong one, so every frame is visited.
Bytes that are not frames are tags, another file joined to the first, or damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from stemsplit.audio.containers.frame_headers import SYNC_WORD, FrameFormat, read_frame_header
from stemsplit.audio.containers.tag_blocks import skip_tags
from stemsplit.audio.containers.xing_header import HEADER_IDS, header_offsets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.audio.containers.file_bytes import FileBytes

_MIN_FRAMES = 3
"""Consecutive frames of one format that cannot be a coincidence."""

_BLOCK_BYTES = 1 << 17
"""Bytes read at once."""

_INSPECTED_BYTES = 64
"""At least as many bytes of each frame as are inspected."""

_FIRST_FRAME_WITHIN = 8192
"""Bytes that may precede the first frame of a stream."""

_MAX_SYNC_WORDS = 200_000
"""Sync words checked after damage before the search for a frame is abandoned."""


@dataclass(slots=True)
class FrameRun:
    """Consecutive frames of one format without a gap.

    Attributes:
        format: of all of them.
        start: offset of the first frame.
        end: end of the last frame.
        count: number of frames.
        junk_bytes: bytes before the first frame that are neither frames nor tags.
        header_offset: offset of a Xing, LAME or VBRI header in the first frame; 0 if it has none.
        is_cut_off: whether the file ends within the frame after the last one.
        is_file_start: whether they start another file that was joined to the previous one. A tag,
            another format or a header shows this.
    """

    format: FrameFormat
    start: int
    end: int
    count: int = 0
    junk_bytes: int = 0
    header_offset: int = 0
    is_cut_off: bool = False
    is_file_start: bool = False


def first_frame(data: FileBytes, at: int) -> int | None:
    """Return the offset of the first frame of a stream near `at`; None if there is none."""
    found = data.finditer(SYNC_WORD, at, at + _FIRST_FRAME_WITHIN)
    return next((start for start, _ in found if _is_stream(data, start)), None)


def frame_runs(data: FileBytes, at: int) -> Iterator[FrameRun]:
    """Visit all frames from the one at `at` on.

    Yields:
        each run of frames, in order.
    """
    found = read_frame_header(data, at)
    run = None if found is None else FrameRun(found[1], at, at, is_file_start=True)
    while run is not None:
        last = _extend(data, run)
        following = _next_run(data, run, last)
        yield run
        run = following


def _is_stream(data: FileBytes, at: int, previous: FrameFormat | None = None) -> bool:
    """Return whether enough consecutive frames of one format start at `at`.

    After frames of the format `previous`, fewer are enough at the end of the file.
    """
    expected = previous
    for _ in range(_MIN_FRAMES):
        found = read_frame_header(data, at)
        if found is None:
            return previous is not None and at == len(data)
        size, frame_format = found
        if expected is not None and frame_format != expected:
            return False
        at, expected = at + size, frame_format
    return True


def _extend(data: FileBytes, run: FrameRun) -> int:
    """Add all frames to a run that continue it; return the offset of the last one."""
    at = last = run.start
    is_mpeg_audio = run.format.is_mpeg_audio
    offsets = header_offsets(run.format)
    known_sizes: dict[bytes, int] = {}
    block, position = data[at : at + _BLOCK_BYTES], 0
    while True:
        if position + _INSPECTED_BYTES > len(block):
            block, position = data[at : at + _BLOCK_BYTES], 0
        head = block[position : position + 4]
        size = known_sizes.get(head)
        if size is None:
            found = read_frame_header(data, at)
            if found is None or found[1] != run.format:
                break
            size = found[0]
            if is_mpeg_audio:  # its whole header is four bytes long
                known_sizes[head] = size
        if at + size > len(data):
            run.is_cut_off = True
            break
        for offset in offsets:
            if block[position + offset : position + offset + 4] in HEADER_IDS:
                if run.count:
                    run.end = at
                    return last
                run.header_offset = offset
        last = at
        at += size
        position += size
        run.count += 1
    run.end = at
    return last


def _next_run(data: FileBytes, run: FrameRun, last: int) -> FrameRun | None:
    """Find the run after `run`, whose last frame is at `last`; None if there is none."""
    if run.end == len(data):
        return None
    at = skip_tags(data, run.end)
    found = read_frame_header(data, at)
    if found is not None and _is_stream(data, at):
        # A tag, another format, or a header of its own: another file.
        return FrameRun(found[1], at, at, is_file_start=True)
    # The size of the last frame may be wrong, in which case the next frame starts inside of it.
    is_file_start = at > run.end
    search = data.finditer(SYNC_WORD, at if is_file_start else last + 1)
    for start, _ in islice(search, _MAX_SYNC_WORDS):
        found = read_frame_header(data, start)
        if found is None:
            continue
        is_same_format = found[1] == run.format
        if not _is_stream(data, start, run.format if is_same_format else None):
            continue
        if start < run.end:
            run.end, run.count = last, run.count - 1
        is_file_start = is_file_start or not is_same_format
        junk_start = at if is_file_start else run.end
        return FrameRun(
            found[1], start, start, junk_bytes=start - junk_start, is_file_start=is_file_start
        )
    return None
