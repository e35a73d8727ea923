"""Runs in both. The parts of MP3 files, and of other streams of frames.

The first frame of an MP3 file often holds no sound but a header: Xing's or LAME's (`Xing` or
`Info`), which tells the number of frames and what the encoder added at both ends, or Fraunhofer's
(`VBRI`). It may be missing, or wrong. Layouts: Xing, "VBR Header"; G. Bouvigne, "Mp3 Info Tag
revision 1 Specifications".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from stemsplit.audio.containers import frames
from stemsplit.audio.containers.parts import Part, Range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stemsplit.audio.containers.byte_view import FileBytes
    from stemsplit.audio.containers.frames import Kind, Run

_HAS_FRAMES, _HAS_BYTES = 1, 2
_FIELD_BYTES = {1: 4, 2: 4, 4: 100, 8: 4}
"""Of the header's fields, by their flags: frames, bytes, table of contents, quality."""

_ENCODERS = (b"LAME", b"Lavf", b"Lavc")
_DELAYS_AT = 21
"""From the encoder's name: three bytes with two numbers of 12 bits."""

_DECODER_DELAY = 529
"""Samples by which every decoder of layer III is late (528 and one, LAME's technical FAQ)."""

_MOST_HEADER_BYTES = 160
_TAIL_BYTES = 65_536
"""Bytes behind the last frame that may be an unknown kind of tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Info:
    """A header within a frame.

    Attributes:
        first: the first byte of the frame.
        size: of the frame in bytes.
        mark: the first byte of the header.
        is_xing: whether decoders understand it: Xing's and LAME's, not Fraunhofer's.
        frames: that it declares; 0 where it does not say.
        delays_at: where it says what was added at both ends.
        trimmed: samples that a decoder leaves out at the beginning by what it says.
        padding: likewise at the end.
    """

    first: int
    size: int
    mark: int
    is_xing: bool
    frames: int
    delays_at: int = 0
    trimmed: int = 0
    padding: int = 0

    def is_right(self, run: Run) -> bool:
        """Tell whether it fits the run whose first frame it stands in."""
        return self.frames in ({run.count - 1} if self.is_xing else {run.count - 1, run.count})


def survey(data: FileBytes, base: int) -> list[Part]:
    """Find the parts of a stream of frames.

    Args:
        data: the file.
        base: behind the tags at its beginning.

    Returns:
        its parts; empty if it is no such stream.
    """
    first = frames.first_frame(data, base)
    if first is None:
        return []
    files: list[list[Run]] = []
    for run in frames.walk(data, first):
        if run.begins_file:
            files.append([])
        files[-1].append(run)
    covered = sum(run.end - run.first for runs in files for run in runs)
    if covered < (len(data) - first) / 2:
        return []  # sound within something else, or too little of it to be sure
    infos = [_info(data, runs[0]) for runs in files]
    parts = [
        part
        for runs, info in zip(files, infos, strict=True)
        for part in _parts(runs, info, _lost_tail(data, runs[-1]) if runs is files[-1] else 0, data)
    ]
    if len(parts) == 1 and (infos[0] is None or infos[0].is_right(files[0][0])):
        is_xing = infos[0] is not None and infos[0].is_xing
        return [replace(parts[0], pieces=None, demuxer="", is_for_libsndfile=is_xing)]
    return parts


def _info(data: FileBytes, run: Run) -> _Info | None:
    """Read the header in the first frame of a run; None if there is none."""
    found = frames.header(data, run.first)
    if not run.mark or found is None:
        return None
    first, mark, size = run.first, run.mark, found[0]
    head = data[mark : mark + _MOST_HEADER_BYTES]
    if head.startswith(b"VBRI"):
        count = int.from_bytes(head[14:18], "big")
        return _Info(first=first, size=size, mark=mark, is_xing=False, frames=count)
    flags = int.from_bytes(head[4:8], "big")
    count = int.from_bytes(head[8:12], "big") if flags & _HAS_FRAMES else 0
    is_xing = bool(flags & _HAS_FRAMES)
    lame = 8 + sum(length for flag, length in _FIELD_BYTES.items() if flags & flag)
    delays = int.from_bytes(head[lame + _DELAYS_AT : lame + _DELAYS_AT + 3], "big")
    if not head[lame:].startswith(_ENCODERS) or not delays:
        return _Info(first=first, size=size, mark=mark, is_xing=is_xing, frames=count)
    return _Info(
        first=first,
        size=size,
        mark=mark,
        is_xing=is_xing,
        frames=count,
        delays_at=mark + lame + _DELAYS_AT,
        trimmed=(delays >> 12) + _DECODER_DELAY,
        padding=max((delays & 0xFFF) - _DECODER_DELAY, 0),
    )


def _parts(
    runs: Sequence[Run], info: _Info | None, lost_at_end: int, data: FileBytes
) -> Iterator[Part]:
    """Describe the parts of one file, those behind damage included."""
    kind = runs[0].kind
    counts = [run.count - (info is not None and number == 0) for number, run in enumerate(runs)]
    lost = _lost(runs, sum(counts), info)
    there = sum(counts) + sum(lost)
    has_open_end = runs[-1].is_cut_off or _ends_blank(data, runs[-1])
    declared = info.frames if info is not None else 0
    if not declared:
        declared = there + lost_at_end
    ends_as_declared = info is not None and info.frames == there
    for number, (run, count, gone) in enumerate(zip(runs, counts, lost, strict=True)):
        is_first, is_last = number == 0, number == len(runs) - 1
        trimmed = info.trimmed if info is not None and is_first else 0
        keeps_padding = is_last and ends_as_declared
        padding = info.padding if info is not None and keeps_padding else 0
        first = run.first + (info.size if info is not None and is_first else 0)
        pieces: tuple[Range | bytes, ...] = (Range(first, run.end),)
        has_header = False
        if info is not None and info.is_xing and is_first:
            has_header = True
            pieces = (_corrected(data, run, info, keeps_padding=keeps_padding), *pieces)
        yield Part(
            pieces=pieces,
            seconds=Fraction(max(count * kind.samples - trimmed - padding, 0), kind.rate),
            lost_seconds=Fraction(gone * kind.samples, kind.rate),
            declared_seconds=_seconds(declared, info, kind) if is_first else None,
            is_for_libsndfile=has_header,
            demuxer="" if has_header else kind.demuxer,
            is_cut_off=has_open_end and is_last and (info is None or not info.frames),
            begins_file=is_first,
        )


def _seconds(declared: int, info: _Info | None, kind: Kind) -> float:
    added = info.trimmed + info.padding if info is not None else 0
    return max(declared * kind.samples - added, 0) / kind.rate


def _lost(runs: Sequence[Run], found: int, info: _Info | None) -> list[int]:
    """Return how many frames were lost before each run.

    Damage that overwrites a file takes whole frames; what was put in between takes none. The header
    tells which it was; without one, the former is taken for granted.
    """
    frame_bytes = sum(run.end - run.first for run in runs) / max(sum(run.count for run in runs), 1)
    lost = [round(run.junk / frame_bytes) if number else 0 for number, run in enumerate(runs)]
    if info is not None and info.frames and any(lost):
        most = max(info.frames - found, 0)
        excess = sum(lost) - most
        for number in range(len(lost) - 1, -1, -1):
            taken = min(max(excess, 0), lost[number])
            lost[number] -= taken
            excess -= taken
        if excess < 0 and len([one for one in lost if one]) == 1 and -excess <= sum(lost):
            lost[lost.index(max(lost))] -= excess
    return lost


def _lost_tail(data: FileBytes, run: Run) -> int:
    """Return how many frames stood where, behind the last one, there is nothing but damage."""
    at = run.end
    while (end := frames.tag_end(data, at)) is not None and end > at:
        at = end
    rest = len(data) - at
    if rest < _TAIL_BYTES or data.is_blank(at):
        return 0
    return round(rest * run.count / max(run.end - run.first, 1))


def _ends_blank(data: FileBytes, run: Run) -> bool:
    """Tell whether many zeros stand behind the last frame: a download that was not finished."""
    return len(data) - run.end >= _TAIL_BYTES and data.is_blank(run.end)


def _corrected(data: FileBytes, run: Run, info: _Info, *, keeps_padding: bool) -> bytes:
    """Return the frame with the header, so that it fits the run of frames behind it."""
    head = bytearray(data[info.first : info.first + info.size])
    mark = info.mark - info.first
    flags = int.from_bytes(head[mark + 4 : mark + 8], "big")
    at = mark + 8
    if flags & _HAS_FRAMES:
        head[at : at + 4] = (run.count - 1).to_bytes(4, "big")
        at += 4
    if flags & _HAS_BYTES:
        head[at : at + 4] = (run.end - run.first).to_bytes(4, "big")
    if info.trimmed and not keeps_padding:
        at = info.delays_at - info.first
        head[at + 1] &= 0xF0
        head[at + 2] = 0
    return bytes(head)
