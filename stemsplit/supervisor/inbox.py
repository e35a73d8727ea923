"""Runs in the supervisor. A child's messages, read without ever waiting for the rest of one.

`Connection.recv_bytes` blocks until a message is whole, so a child that dies or stops in the midst
of one would hold up the supervision of all others. Here the bytes that have come are kept until
their message is whole. The framing is that of `multiprocessing.connection.Connection` on POSIX: the
length as a signed 32-bit number in network order, then the bytes. On Windows the pipe itself keeps
messages apart.
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

LARGEST_MESSAGE_BYTES = 2**20
"""Far more than any message; a child that announces more is broken."""

MOST_READS = 64
"""At one go, so that a child that never stops talking leaves the supervisor time for others."""

_READ_BYTES = 65_536
_HEADER = struct.Struct("!i")


class Inbox:
    """Takes messages from one pipe.

    Attributes:
        open: whether more may come. False after the end of the pipe, and after anything that is
            no message.
    """

    def __init__(self, pipe: Connection) -> None:
        """Read from `pipe`, which stays the caller's to close."""
        self.open = True
        self._pipe = pipe
        self._bytes = bytearray()

    def take(self) -> list[Message]:
        """Give the messages that are there, without waiting."""
        messages: list[Message] = []
        try:
            for _ in range(MOST_READS):
                if not self.open or not self._pipe.poll():
                    break
                messages += self._read()
        except (EOFError, OSError, msgspec.DecodeError):
            self.open = False
        return messages

    def _read(self) -> list[Message]:
        if sys.platform == "win32":
            return [decode(self._pipe.recv_bytes(LARGEST_MESSAGE_BYTES))]
        data = os.read(self._pipe.fileno(), _READ_BYTES)
        if not data:
            raise EOFError
        self._bytes += data
        messages: list[Message] = []
        while (whole := self._cut_off_one()) is not None:
            try:
                messages.append(decode(whole))
            except msgspec.DecodeError:
                self.open = False
                break
        return messages

    def _cut_off_one(self) -> bytes | None:
        if len(self._bytes) < _HEADER.size:
            return None
        (size,) = _HEADER.unpack_from(self._bytes)
        if not 0 <= size <= LARGEST_MESSAGE_BYTES:
            self.open = False
            return None
        end = _HEADER.size + size
        if len(self._bytes) < end:
            return None
        message = bytes(self._bytes[_HEADER.size : end])
        del self._bytes[:end]
        return message
