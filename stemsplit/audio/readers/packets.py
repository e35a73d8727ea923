"""Runs in the child. Decodes the packets of an audio track with FFmpeg, also after damage."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

import av
import av.error

from stemsplit.core.errors import BadInputError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer

_logger = logging.getLogger(__name__)

_WITH_CHECKSUMS = frozenset({"flac", "tta", "wavpack"})
"""Codecs whose packets have a checksum. Unless it is verified, damage decodes to noise."""

_MAX_ERRORS = 20
"""Consecutive demuxer errors after which the rest of the file is skipped."""

MAX_SILENCE_SECONDS = 5.0
"""Maximum silence in place of one damaged packet."""


class PacketDecoder:
    """Decodes the packets of one audio track.

    Args:
        container: the open file.
        stream: the track.
        name: name of the file, for messages.

    Attributes:
        first_timestamp: of the first packet, in the stream's clock; None if it has none.
        end_seconds: the latest end of a packet so far, by its timestamp; None if unknown.
        has_lost_packets: whether a packet could not be decoded.

    Raises:
        BadInputError: if FFmpeg has no decoder for it.
    """

    def __init__(self, container: InputContainer, stream: av.AudioStream, name: str) -> None:
        self._container, self._stream, self._name = container, stream, name
        self.first_timestamp: int | None = None
        self.end_seconds: float | None = None
        self.has_lost_packets = False
        # Whatever its type says, the context is None for an encoding unknown to FFmpeg. From PyAV
        # 19 on, the context exists but cannot decode.
        context: object = stream.codec_context
        if context is None:
            raise self._unknown_encoding()
        stream.codec_context.thread_count = 1
        if stream.codec_context.name in _WITH_CHECKSUMS:
            stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def _unknown_encoding(self) -> BadInputError:
        return BadInputError(
            f"{quoted(self._name)} has an audio encoding that FFmpeg does not know.",
            "Export it again in another format.",
        )

    def decode(self) -> Iterator[av.AudioFrame | float]:
        """Decode all packets.

        Yields:
            each frame that is not empty, and the duration in seconds of each packet that cannot be
            decoded.

        Raises:
            BadInputError: if FFmpeg has no decoder for it.
            OSError: if the disk cannot be read.
        """
        frame_seconds = 0.0
        for packet in self._demux():
            self._note_timestamps(packet)
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                if packet.size:
                    self.has_lost_packets = True
                    yield self._packet_seconds(packet) or frame_seconds
                continue
            except ValueError as error:
                raise self._unknown_encoding() from error
            for frame in frames:
                if frame.samples:
                    frame_seconds = frame.samples / frame.sample_rate
                    yield frame

    def _demux(self) -> Iterator[av.Packet[av.AudioStream]]:
        """Read packets; if the demuxer finds damage, make it continue after it."""
        errors = 0
        while errors < _MAX_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    errors = 0
                    yield packet
            except (av.error.FFmpegError, OSError) as error:
                if not is_caused_by_file(error):
                    raise
                errors += 1
                _logger.debug("damage in %s", self._name, exc_info=True)
            else:
                return

    @staticmethod
    def _packet_seconds(packet: av.Packet[av.AudioStream]) -> float:
        if not packet.duration or packet.time_base is None:
            return 0.0
        return min(float(packet.duration * packet.time_base), MAX_SILENCE_SECONDS)

    def _note_timestamps(self, packet: av.Packet[av.AudioStream]) -> None:
        if self.first_timestamp is None:
            self.first_timestamp = packet.pts
        if packet.size and packet.pts is not None and packet.duration and packet.time_base:
            end = float((packet.pts + packet.duration) * packet.time_base)
            self.end_seconds = max(end, self.end_seconds or 0.0)


def is_caused_by_file(error: Exception) -> bool:
    """Return whether damage in the file caused an error, rather than a disk that cannot be read.

    Damage makes FFmpeg seek to offsets that no file has.
    """
    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return error.errno == errno.EINVAL
    return True
