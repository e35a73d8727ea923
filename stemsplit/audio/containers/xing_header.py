"""Runs in the child. Reads and corrects the header in the first frame of an MP3 file.

The first frame often holds no audio but a header: that of Xing or LAME (`Xing` or `Info`), which
gives the number of frames and the samples that the encoder added at both ends, or that of
Fraunhofer (`VBRI`). It may be missing, or wrong. Layouts: Xing, "VBR Header"; G. Bouvigne, "Mp3
Info Tag revision 1 Specifications".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from stemsplit.audio.containers.frame_headers import read_frame_header

if TYPE_CHECKING:
    from stemsplit.audio.containers.file_bytes import FileBytes
    from stemsplit.audio.containers.frame_headers import FrameFormat

HEADER_IDS = frozenset({b"Xing", b"Info", b"VBRI"})

_HAS_FRAMES, _HAS_BYTES = 1, 2
_FIELD_BYTES = {1: 4, 2: 4, 4: 100, 8: 4}
"""Lengths of the optional fields by flag: frames, bytes, table of contents, quality."""

_ENCODERS = (b"LAME", b"Lavf", b"Lavc")
_DELAYS_OFFSET = 21
"""From the encoder's name to three bytes with two numbers of 12 bits: delay and padding."""

_DECODER_DELAY = 529
"""Delay of every layer III decoder in samples (528 and one, LAME's technical FAQ)."""

_MAX_HEADER_BYTES = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class XingHeader:
    """A header in the first frame of an MP3 file.

    Attributes:
        frame_start: offset of the frame.
        frame_bytes: size of the frame.
        offset: of the header from the start of the frame.
        is_xing: whether decoders use it: the header of Xing or LAME, not that of Fraunhofer.
        frames: declared number of frames; 0 if it declares none.
        delays_offset: offset of the delay and padding from the start of the frame; 0 if it has
            none.
        trimmed_start: samples that a decoder removes at the start according to the header.
        trimmed_end: likewise at the end.
    """

    frame_start: int
    frame_bytes: int
    offset: int
    is_xing: bool
    frames: int
    delays_offset: int = 0
    trimmed_start: int = 0
    trimmed_end: int = 0

    def matches(self, frames: int) -> bool:
        """Return whether it fits a file of `frames` frames, including its own."""
        return self.frames == frames - 1 or (not self.is_xing and self.frames == frames)


def header_offsets(frame_format: FrameFormat) -> tuple[int, ...]:
    """Return where in a frame the header may start: after the side information of layer III.

    The side information takes 32, 17 or 9 bytes, depending on MPEG version and channels. It follows
    the four bytes of the frame header and, in some files, two bytes of a checksum. VBRI is always
    at offset 36.
    """
    if not frame_format.is_layer_3:
        return ()
    is_mono = frame_format.channels == 1
    after = 36 - 15 * is_mono if frame_format.is_mpeg_1 else 21 - 8 * is_mono
    return tuple(dict.fromkeys((after, after + 2, 36)))


def read_xing_header(data: FileBytes, frame_start: int, offset: int) -> XingHeader | None:
    """Read the header at `offset` of the frame at `frame_start`; None if there is no frame."""
    found = read_frame_header(data, frame_start)
    if found is None:
        return None
    frame_bytes, _ = found
    head = data[frame_start + offset : frame_start + offset + _MAX_HEADER_BYTES]
    if head.startswith(b"VBRI"):
        return XingHeader(
            frame_start=frame_start,
            frame_bytes=frame_bytes,
            offset=offset,
            is_xing=False,
            frames=int.from_bytes(head[14:18], "big"),
        )
    flags = int.from_bytes(head[4:8], "big")
    has_frames = bool(flags & _HAS_FRAMES)
    encoder = 8 + sum(length for flag, length in _FIELD_BYTES.items() if flags & flag)
    delays = int.from_bytes(head[encoder + _DELAYS_OFFSET : encoder + _DELAYS_OFFSET + 3], "big")
    has_delays = head[encoder:].startswith(_ENCODERS) and delays > 0
    return XingHeader(
        frame_start=frame_start,
        frame_bytes=frame_bytes,
        offset=offset,
        is_xing=has_frames,
        frames=int.from_bytes(head[8:12], "big") if has_frames else 0,
        delays_offset=offset + encoder + _DELAYS_OFFSET if has_delays else 0,
        trimmed_start=(delays >> 12) + _DECODER_DELAY if has_delays else 0,
        trimmed_end=max((delays & 0xFFF) - _DECODER_DELAY, 0) if has_delays else 0,
    )


def corrected_frame(
    data: FileBytes, header: XingHeader, *, frames: int, stream_bytes: int, keeps_padding: bool
) -> bytes:
    """Return the frame of a header with the right counts.

    Args:
        data: the file.
        header: as read.
        frames: number of frames after it.
        stream_bytes: size of all frames, including its own.
        keeps_padding: whether the padding that the header declares is there.
    """
    frame = bytearray(data[header.frame_start : header.frame_start + header.frame_bytes])
    flags = int.from_bytes(frame[header.offset + 4 : header.offset + 8], "big")
    at = header.offset + 8
    if flags & _HAS_FRAMES:
        frame[at : at + 4] = frames.to_bytes(4, "big")
        at += 4
    if flags & _HAS_BYTES:
        frame[at : at + 4] = stream_bytes.to_bytes(4, "big")
    if header.trimmed_start and not keeps_padding:
        frame[header.delays_offset + 1] &= 0xF0
        frame[header.delays_offset + 2] = 0
    return bytes(frame)
