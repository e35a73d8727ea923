"""Runs in both. The parts of FLAC files: files that were joined, and what stands behind damage.

Every frame bears its number, a checksum of its header and one of itself, so that all that is whole
can be found and put in its place (RFC 9639, sections 8 and 9). The header of the file is a hint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemsplit.audio.containers.frames import tag_end
from stemsplit.audio.containers.parts import Part, Range
from stemsplit.core.audio_info import MOST_FRAMES_A_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from stemsplit.audio.containers.byte_view import FileBytes

MAGIC = b"fLaC"
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_INFO_BYTES = 34
_LAST_BLOCK = 0x80
_MOST_TAG_BYTES = 1 << 20
_SMALL_TAG_BYTES = 4096
"""Tags behind the last frame that are no reason to look at every frame."""

_LOOKED_AT = (0.0, 0.07, 0.19, 0.31, 0.47, 0.53, 0.71, 0.83, 0.97)
"""Shares of a file's bytes at which its frames are looked at; no simple fractions, at which the
second of two or three equal files would look like the first."""

_BATCH_BYTES = 16 << 20
"""Of frames whose checksums are computed at once, as large as they may be."""

_MOST_MAGICS = 10_000
"""How many times `fLaC` is searched for in a file."""

_MOST_METADATA = 1_000
_LARGEST_BLOCK = 65_535
"""Samples of a frame, where STREAMINFO does not say."""


@dataclass(frozen=True, slots=True)
class _Info:
    """What STREAMINFO says, and the bytes that belong to it."""

    least_block: int
    rate: int
    samples: int
    header: bytes
    frames_at: int
    """Behind the metadata."""

    @property
    def largest_frame(self) -> int:
        """The most bytes of a frame: samples as they are, with headers (RFC 9639, section 9.2)."""
        most = int.from_bytes(self.header[2:4], "big") or _LARGEST_BLOCK
        channels = (self.header[12] >> 1 & 7) + 1
        bits = ((self.header[12] & 1) << 4 | self.header[13] >> 4) + 1
        return most * channels * ((bits + 8) // 8) + 64 * channels

    def for_samples(self, samples: int) -> bytes:
        """Return a file's header that declares another length, and no checksum of all samples."""
        info = bytearray(self.header)
        info[13] = info[13] & 0xF0 | samples >> 32 & 15
        info[14:18] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
        info[18:34] = bytes(16)
        return MAGIC + bytes([_LAST_BLOCK, 0, 0, _INFO_BYTES]) + bytes(info)


class _Frame(NamedTuple):
    at: int
    number: int
    """Of the frame, or of its first sample where `is_variable`."""
    is_variable: bool
    samples: int
    form: int
    """Channels and sample size, as the header codes them."""


def survey(data: FileBytes, base: int, *, thorough: bool = False) -> list[Part]:
    """Find the parts of a FLAC file.

    Args:
        data: the file.
        base: where it begins, behind other tags.
        thorough: whether every frame is looked at although the end is where the header says. That
            takes about as long as decoding.

    Returns:
        its parts, in order; empty if its header cannot be read.
    """
    info = _info(data, base)
    if info is None:
        return []
    if not thorough and _is_in_order(data, info) and _ends_as_declared(data, info):
        return [Part(declared_seconds=info.samples / info.rate)]
    parts: list[Part] = []
    looked = 0
    while info is not None:
        end = data.find(MAGIC, info.frames_at)
        while end >= 0 and looked < _MOST_MAGICS and _info(data, end) is None:
            end, looked = data.find(MAGIC, end + 1), looked + 1
        end = -1 if looked >= _MOST_MAGICS else end
        parts += _parts(data, info, len(data) if end < 0 else end)
        info = None if end < 0 else _info(data, end)
    return parts


def _info(data: FileBytes, at: int) -> _Info | None:
    """Read the metadata of the file that begins at `at`; None if it is none."""
    at += len(MAGIC)
    info: bytes | None = None
    for _ in range(_MOST_METADATA):
        head = data[at : at + 4]
        if len(head) < 4:  # noqa: PLR2004 - a block's header
            return None
        is_last, kind = bool(head[0] & _LAST_BLOCK), head[0] & 0x7F
        size = int.from_bytes(head[1:], "big")
        if kind == 0 and info is None:
            info = data[at + 4 : at + 4 + _INFO_BYTES]
        at += 4 + size
        if is_last:
            break
    if info is None or len(info) < _INFO_BYTES:
        return None
    rate = int.from_bytes(info[10:13], "big") >> 4
    samples = (info[13] & 15) << 32 | int.from_bytes(info[14:18], "big")
    return _Info(int.from_bytes(info[:2], "big"), rate, samples, info, at) if rate else None


def _frame(data: FileBytes, at: int) -> _Frame | None:
    """Read a frame's header; None if there is none, by its checksum."""
    head = data[at : at + 16]
    if len(head) < 16 or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 15 == 15:  # noqa: PLR2004 - reserved
        return None
    length = _coded_length(head[4])
    if not length:
        return None
    number = head[4] & (0x7F if length == 1 else 0x7F >> length)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    end = 4 + length
    code = head[2] >> 4
    if code in {6, 7}:
        samples = int.from_bytes(head[end : end + code - 5], "big") + 1
        end += code - 5
    else:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8  # noqa: PLR2004 - table 14
    end += {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    return _Frame(at, number, bool(head[1] & 1), samples, head[3])


def _coded_length(first: int) -> int:
    """Return how many bytes a number takes whose first one this is; 0 if it cannot be one."""
    if first < 0x80:  # noqa: PLR2004 - as in UTF-8
        return 1
    ones = 8 - (~first & 0xFF).bit_length()
    return ones if 2 <= ones <= 7 else 0  # noqa: PLR2004 - likewise


def _crc8(data: bytes) -> int:
    """Compute a header's checksum, of the polynomial x8 + x2 + x + 1."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_CRC8 = _table(8, 0x07)
_CRC16 = np.array(_table(16, 0x8005), np.uint16)


def _ends_as_declared(data: FileBytes, info: _Info) -> bool:
    """Tell whether the last frame ends with the last sample that the header declares."""
    base = max(len(data) - info.largest_frame - _SMALL_TAG_BYTES, info.frames_at)
    for at, _ in data.finditer(_SYNC, base):
        frame = _frame(data, at)
        if frame is not None and _first_sample(frame, info) + frame.samples == info.samples:
            return True
    return False


def _is_in_order(data: FileBytes, info: _Info) -> bool:
    """Tell whether frames rise on the way through a file, as those of joined files do not."""
    before = -1
    for share in _LOOKED_AT:
        at = info.frames_at + int((len(data) - info.frames_at) * share)
        end = at + 2 * info.largest_frame
        found = (_frame(data, one) for one, _ in data.finditer(_SYNC, at, end))
        frame = next((frame for frame in found if frame is not None), None)
        if frame is None:  # near the end of a short file
            continue
        sample = _first_sample(frame, info)
        if not before <= sample < info.samples:
            return False
        before = sample
    return True


def _first_sample(frame: _Frame, info: _Info) -> int:
    return frame.number if frame.is_variable else frame.number * info.least_block


def _parts(data: FileBytes, info: _Info, end: int) -> Iterator[Part]:
    """Cut a file where frames are missing or damaged."""
    frames = _in_order(data, info, end)
    sound = _sound_ends(data, frames, end, info.largest_frame)
    declared = info.samples / info.rate or None
    at, number = 0, 0
    while number < len(frames):
        if not sound[number]:
            number += 1
            continue
        first = number
        samples = 0
        begins_at = _first_sample(frames[first], info)
        while number < len(frames) and sound[number]:
            if _first_sample(frames[number], info) != begins_at + samples:
                break
            samples += frames[number].samples
            number += 1
        yield Part(
            pieces=(info.for_samples(samples), Range(frames[first].at, sound[number - 1])),
            seconds=Fraction(samples, info.rate),
            lost_seconds=Fraction(max(begins_at - at, 0), info.rate),
            declared_seconds=declared,
            # libsndfile wants to go back to the first sample, which libFLAC looks for in vain.
            is_for_libsndfile=begins_at == 0,
            demuxer="" if begins_at == 0 else "flac",
            begins_file=at == 0,
        )
        at = begins_at + samples
        declared = None


def _in_order(data: FileBytes, info: _Info, end: int) -> list[_Frame]:
    """Find the frames of a file whose numbers rise; what looks like a frame by accident is not."""
    found: list[_Frame] = []
    doubtful: _Frame | None = None
    for at, _ in data.finditer(_SYNC, info.frames_at, end):
        frame = _frame(data, at)
        if frame is None or (found and frame.is_variable != found[0].is_variable):
            continue
        if found and _follows(found[-1], frame):
            found.append(frame)
            doubtful = None
        elif doubtful is not None and _follows(doubtful, frame):
            found += [doubtful, frame]
            doubtful = None
        elif not found or _may_come_after(found[-1], frame):
            doubtful = frame  # until another one follows
    return found or ([doubtful] if doubtful is not None else [])


def _may_come_after(before: _Frame, frame: _Frame) -> bool:
    """Tell whether a frame may stand behind another one and damage, by the size of the damage."""
    step = 1 if before.is_variable else before.samples
    lost = (frame.number - before.number) * step
    return 0 < lost <= (frame.at - before.at) * MOST_FRAMES_A_BYTE


def _follows(before: _Frame, frame: _Frame) -> bool:
    step = before.samples if before.is_variable else 1
    return frame.number == before.number + step


def _sound_ends(data: FileBytes, frames: Sequence[_Frame], end: int, largest: int) -> list[int]:
    """Return where each frame ends whose checksum is right; 0 for one that is damaged."""
    while (tag := _tag_before(data, end)) is not None:
        end = tag
    ends = [frame.at for frame in frames[1:]] + [end]
    sound = [0] * len(frames)
    count = max(_BATCH_BYTES // largest, 1)
    for base in range(0, len(frames), count):
        batch = range(base, min(base + count, len(frames)))
        pieces = [
            data[frames[number].at : min(ends[number], frames[number].at + largest)]
            for number in batch
        ]
        for number, crc in zip(batch, _crc16(pieces), strict=True):
            sound[number] = ends[number] if crc == 0 else 0
    return sound


def _tag_before(data: FileBytes, end: int) -> int | None:
    """Return where the tag begins that ends at `end`; None if none does."""
    base = max(end - _MOST_TAG_BYTES, 0)
    for start in (end - 128, base + data[base:end].rfind(b"APETAGEX")):
        if 0 <= start < end and tag_end(data, start) == end:
            return start
    return None


def _crc16(pieces: Sequence[bytes]) -> NDArray[np.uint16]:
    """Compute the checksums of frames, of the polynomial x16 + x15 + x2 + 1, all at once."""
    lengths = np.array([len(piece) for piece in pieces])
    order = np.argsort(-lengths, kind="stable")
    columns = np.zeros((int(lengths.max(initial=0)), len(pieces)), np.uint8)
    for column, number in enumerate(order):
        columns[: lengths[number], column] = np.frombuffer(pieces[number], np.uint8)
    crc = np.zeros(len(pieces), np.uint16)
    active = len(pieces)
    sorted_lengths = lengths[order]
    for row, values in enumerate(columns):
        while active and sorted_lengths[active - 1] <= row:
            active -= 1
        now = crc[:active]
        crc[:active] = (now << 8) ^ _CRC16[(now >> 8) ^ values[:active]]
    result = np.empty_like(crc)
    result[order] = crc
    return result
