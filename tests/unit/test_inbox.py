"""Receiving messages from a pipe."""

from __future__ import annotations

import os
from multiprocessing import Pipe
from typing import TYPE_CHECKING

import msgspec
import pytest

from stemsplit.core.messages import Progress, Warned, send
from stemsplit.core.outcome import WarningKind
from stemsplit.supervisor.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection


@pytest.fixture
def pipe() -> Iterator[tuple[Connection, Connection]]:
    """Both ends of a pipe: the supervisor's and the child's."""
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_in_order(pipe: tuple[Connection, Connection]) -> None:
    """Several may arrive at once, and they may be large."""
    inbox = Inbox(pipe[0])
    assert inbox.receive() == []
    sent = [Progress(audio_seconds=float(number)) for number in range(5)]
    large = Warned(kind=WarningKind.NOTE, text="la" * 50_000)
    for message in sent:
        send(pipe[1], message)
    assert inbox.receive() == sent
    send(pipe[1], large)
    assert inbox.receive() == [large]
    assert inbox.is_open


def test_a_message_may_arrive_byte_by_byte(pipe: tuple[Connection, Connection]) -> None:
    """Half a header or half a message neither blocks nor gets lost."""
    inbox = Inbox(pipe[0])
    body = msgspec.msgpack.encode(Progress(audio_seconds=1.5))
    data = len(body).to_bytes(4, "big") + body
    for byte in data[:-1]:
        os.write(pipe[1].fileno(), bytes([byte]))
        assert inbox.receive() == []
    os.write(pipe[1].fileno(), data[-1:])
    assert inbox.receive() == [Progress(audio_seconds=1.5)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x02\xc1\xc1",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\x00",
    ],
    ids=["not MessagePack", "two gigabytes", "eight bytes of length", "empty"],
)
def test_invalid_data_closes_the_inbox(pipe: tuple[Connection, Connection], data: bytes) -> None:
    """Earlier messages are returned; later ones are ignored."""
    inbox = Inbox(pipe[0])
    send(pipe[1], Progress(audio_seconds=1.0))
    os.write(pipe[1].fileno(), data)
    send(pipe[1], Progress(audio_seconds=2.0))
    assert inbox.receive() == [Progress(audio_seconds=1.0)]
    assert not inbox.is_open
    assert inbox.receive() == []


def test_the_end_of_the_pipe_closes_the_inbox(pipe: tuple[Connection, Connection]) -> None:
    """The last messages are still returned."""
    inbox = Inbox(pipe[0])
    send(pipe[1], Progress(audio_seconds=1.0))
    pipe[1].close()
    assert inbox.receive() == [Progress(audio_seconds=1.0)]
    assert not inbox.is_open
