"""Messages are taken whole, whatever way their bytes come."""

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


def test_messages_come_in_order(pipe: tuple[Connection, Connection]) -> None:
    """Several at once, large ones too, and nothing more than there is."""
    inbox = Inbox(pipe[0])
    assert inbox.take() == []
    sent = [Progress(audio_seconds=float(number)) for number in range(5)]
    large = Warned(kind=WarningKind.NOTE, text="la" * 50_000)
    for message in sent:
        send(pipe[1], message)
    assert inbox.take() == sent
    send(pipe[1], large)
    assert inbox.take() == [large]
    assert inbox.open


def test_a_message_may_come_byte_by_byte(pipe: tuple[Connection, Connection]) -> None:
    """Half a header, half a message: nothing waits, and nothing is lost."""
    inbox = Inbox(pipe[0])
    body = msgspec.msgpack.encode(Progress(audio_seconds=1.5))
    data = len(body).to_bytes(4, "big") + body
    for byte in data[:-1]:
        os.write(pipe[1].fileno(), bytes([byte]))
        assert inbox.take() == []
    os.write(pipe[1].fileno(), data[-1:])
    assert inbox.take() == [Progress(audio_seconds=1.5)]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x02\xc1\xc1",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\x00",
    ],
    ids=["no MessagePack", "two gigabytes", "eight bytes of length", "empty"],
)
def test_garbage_closes_it(pipe: tuple[Connection, Connection], data: bytes) -> None:
    """What came before counts; what comes after does not."""
    inbox = Inbox(pipe[0])
    send(pipe[1], Progress(audio_seconds=1.0))
    os.write(pipe[1].fileno(), data)
    send(pipe[1], Progress(audio_seconds=2.0))
    assert inbox.take() == [Progress(audio_seconds=1.0)]
    assert not inbox.open
    assert inbox.take() == []


def test_the_end_of_the_pipe_closes_it(pipe: tuple[Connection, Connection]) -> None:
    """The last messages are taken first."""
    inbox = Inbox(pipe[0])
    send(pipe[1], Progress(audio_seconds=1.0))
    pipe[1].close()
    assert inbox.take() == [Progress(audio_seconds=1.0)]
    assert not inbox.open
