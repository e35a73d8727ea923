"""Runs in a process of its own. The connection of a shard to the supervisor of its batch.

Messages go out through a stream; a thread reads those that come in. The end of the input means that
the Ray worker is gone: all children are stopped then, and nothing is published any more.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from typing import IO, TYPE_CHECKING

from stemsplit.core import errors
from stemsplit.core.errors import StemsplitError, StoppedError
from stemsplit.executors.ray_cluster import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.supervisor.pool import Pool

HEARTBEAT_SECONDS = 10.0
"""Interval between two heartbeats of a shard."""

_STUCK_SECONDS = 1800.0
"""Time without an iteration of the pool's loop after which the heartbeats stop."""


class ShardConnection:
    """Sends messages and requests, and passes incoming messages on to the pool.

    Args:
        source: messages from the supervisor.
        sink: messages to the supervisor.
    """

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        """Store the streams; read nothing yet."""
        self._incoming = map(messages.decode_supervisor_message, messages.read_frames(source))
        self._sink = sink
        self._send_lock = threading.Lock()
        self._request_ids = itertools.count(1)
        self._replies: queue.SimpleQueue[messages.Reply | None] = queue.SimpleQueue()
        self._is_stopped = False

    def read_task(self) -> messages.ShardTask | None:
        """Wait for the first message and return it; None if the shard is not needed."""
        first = next(self._incoming, None)
        return first if isinstance(first, messages.ShardTask) else None

    def attach(self, pool: Pool, add: Callable[[messages.AssignedTrack], None]) -> None:
        """Pass all further messages on to a pool, on a thread."""
        threading.Thread(target=self._read, args=(pool, add), name="messages", daemon=True).start()

    def _read(self, pool: Pool, add: Callable[[messages.AssignedTrack], None]) -> None:
        try:
            for message in self._incoming:
                match message:
                    case messages.MoreTracks(tracks=tracks):
                        for track in tracks:
                            add(track)
                    case messages.Close():
                        pool.close()
                    case messages.Drain():
                        pool.drain()
                    case messages.Reply():
                        self._replies.put(message)
                    case _:
                        break
        finally:
            self._is_stopped = True
            pool.stop()
            self._replies.put(None)

    def send(self, message: messages.ShardMessage) -> None:
        """Send a message. Errors are ignored: if the other side is gone, the input ends as well."""
        with self._send_lock, contextlib.suppress(OSError):
            messages.write_frame(self._sink, messages.encode(message))

    def next_request_id(self) -> int:
        """Return a new number for a request."""
        return next(self._request_ids)

    def request(self, request: messages.RecorderRequest) -> bool:
        """Send a request and wait for the reply.

        Returns:
            `will_be_completed` of the reply.

        Raises:
            StemsplitError: if the request is refused.
        """
        if self._is_stopped:
            raise StoppedError("The shard was stopped.")
        self.send(request)
        while (reply := self._replies.get()) is not None:
            if reply.request_id != request.request_id:
                continue
            if reply.error:
                error_class = getattr(errors, reply.error, StemsplitError)
                raise error_class(reply.message, reply.remedy)
            return reply.will_be_completed
        raise StoppedError("The shard was stopped.")


class HeartbeatThread:
    """Sends heartbeats as long as the pool's loop iterates.

    On a thread, because an iteration may take long if files are on slow storage.

    Args:
        connection: connection to the supervisor.
    """

    def __init__(self, connection: ShardConnection) -> None:
        """Start the thread."""
        self._connection = connection
        self._last_iteration = time.monotonic()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def record_iteration(self) -> None:
        """Record that the pool's loop has iterated."""
        self._last_iteration = time.monotonic()

    def _run(self) -> None:
        while time.monotonic() - self._last_iteration < _STUCK_SECONDS:
            time.sleep(HEARTBEAT_SECONDS)
            self._connection.send(messages.Heartbeat())
