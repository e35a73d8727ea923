"""Runs in the supervisor. Reads a child's messages without waiting for incomplete ones.

`Connection.recv_bytes` blocks until a message is complete, so a child that dies or stops in the
middle of one would block the supervision of all others. An inbox buffers the bytes instead. The
framing is that of `multiprocessing.connection.Connection` on POSIX: the length as a signed 32-bit
number in network byte order, then the message. On Windows the pipe itself separates messages.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING

import msgspec

from stemsplit.core.messages import decode

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from stemsplit.core.messages import Message

MAX_MESSAGE_BYTES = 2**20
"""Far more than any message; a child that announces more is broken."""

MAX_READS = 64
"""Reads per call, so that a child that sends without pause does not starve the others."""

_READ_BYTES = 65_536
_HEADER = struct.Struct("!i")


class Inbox:
    """Reads messages from one pipe.

    Attributes:
        is_open: whether more messages may follow. False after the end of the pipe and after
            invalid data.
    """

    def __init__(self, pipe: Connection) -> None:
        """Read from `pipe`, which the caller closes."""
        self.is_open = True
        self._pipe = pipe
        self._buffer = bytearray()

    def receive(self) -> list[Message]:
        """Return the complete messages that have arrived, without waiting."""
        messages: list[Message] = []
        try:
            for _ in range(MAX_READS):
                if not self.is_open or not self._pipe.poll():
                    break
                messages += self._read()
        except (EOFError, OSError, msgspec.DecodeError):
            self.is_open = False
        return messages

    def _read(self) -> list[Message]:
        if sys.platform == "win32":
            return [decode(self._pipe.recv_bytes(MAX_MESSAGE_BYTES))]
        data = os.read(self._pipe.fileno(), _READ_BYTES)
        if not data:
            raise EOFError
        self._buffer += data
        messages: list[Message] = []
        while (frame := self._pop_frame()) is not None:
            try:
                messages.append(decode(frame))
            except msgspec.DecodeError:
                self.is_open = False
                break
        return messages

    def _pop_frame(self) -> bytes | None:
        """Remove the first complete message from the buffer; None if there is none."""
        if len(self._buffer) < _HEADER.size:
            return None
        (size,) = _HEADER.unpack_from(self._buffer)
        if not 0 <= size <= MAX_MESSAGE_BYTES:
            self.is_open = False
            return None
        end = _HEADER.size + size
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return frame
