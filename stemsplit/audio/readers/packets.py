"""Runs in both. The packets of one audio track, decoded one after the other."""

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

_CHECKED = frozenset({"flac", "tta", "wavpack"})
"""Codecs whose packets bear a checksum: without it, damage decodes to noise."""

_MOST_FAULTS = 20
"""Errors of the demuxer in a row after which it is believed that nothing more can be read."""

MOST_CONCEALED_SECONDS = 5.0
"""The most silence put in the place of one damaged packet."""


class Packets:
    """Decodes one audio track.

    Args:
        container: the open file.
        stream: the track.
        name: of the file, for sentences.

    Attributes:
        first_timestamp: of the first packet, in the stream's clock; None where it has none.
        end_seconds: the latest end of a packet so far, by its timestamp; None where it has none.
        has_lost: whether a packet could not be decoded.

    Raises:
        BadInputError: if FFmpeg has no decoder for it.
    """

    def __init__(self, container: InputContainer, stream: av.AudioStream, name: str) -> None:
        """Prepare the decoder."""
        self._container, self._stream, self._name = container, stream, name
        self.first_timestamp: int | None = None
        self.end_seconds: float | None = None
        self.has_lost = False
        # For an encoding that FFmpeg does not know there is no context, whatever its types say.
        # From PyAV 19 on there is one that cannot decode.
        context: object = stream.codec_context
        if context is None:
            raise self._unknown_encoding()
        stream.codec_context.thread_count = 1
        if stream.codec_context.name in _CHECKED:
            stream.codec_context.options = {"err_detect": "crccheck+explode"}

    def _unknown_encoding(self) -> BadInputError:
        return BadInputError(
            f"{quoted(self._name)} has sound in an encoding that FFmpeg does not know.",
            "Export it again in another one.",
        )

    def decoded(self) -> Iterator[av.AudioFrame | float]:
        """Decode packet by packet.

        Yields:
            frames that are not empty, and for a packet that cannot be decoded how many seconds it
            lasts.

        Raises:
            BadInputError: if FFmpeg has no decoder for it.
            OSError: if the disk cannot be read.
        """
        usual = 0.0
        for packet in self._demuxed():
            self._note_times(packet)
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                if packet.size:
                    self.has_lost = True
                    yield self._seconds_of(packet) or usual
                continue
            except ValueError as error:
                raise self._unknown_encoding() from error
            for frame in frames:
                if frame.samples:
                    usual = frame.samples / frame.sample_rate
                    yield frame

    def _demuxed(self) -> Iterator[av.Packet[av.AudioStream]]:
        """Read packets; a demuxer that finds damage is asked to go on behind it."""
        faults = 0
        while faults < _MOST_FAULTS:
            try:
                for packet in self._container.demux(self._stream):
                    faults = 0
                    yield packet
            except (av.error.FFmpegError, OSError) as error:
                if not is_of_the_file(error):
                    raise
                faults += 1
                _logger.debug("damage in %s", self._name, exc_info=True)
            else:
                return

    @staticmethod
    def _seconds_of(packet: av.Packet[av.AudioStream]) -> float:
        if not packet.duration or packet.time_base is None:
            return 0.0
        return min(float(packet.duration * packet.time_base), MOST_CONCEALED_SECONDS)

    def _note_times(self, packet: av.Packet[av.AudioStream]) -> None:
        if self.first_timestamp is None:
            self.first_timestamp = packet.pts
        if packet.size and packet.pts is not None and packet.duration and packet.time_base:
            end = float((packet.pts + packet.duration) * packet.time_base)
            self.end_seconds = max(end, self.end_seconds or 0.0)


def is_of_the_file(error: Exception) -> bool:
    """Tell damage, which leads to places that no file has, from a disk that cannot be read."""
    if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
        return error.errno == errno.EINVAL
    return True
