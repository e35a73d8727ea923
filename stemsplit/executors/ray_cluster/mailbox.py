"""Runs in a Ray actor. Passes frames between the supervisor of a batch and its shards.

The actor runs on the supervisor's node and stores nothing that must survive: frames that the
supervisor has not received are lost with it, and then its shards end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict


class Mailbox:
    """Stores frames until the supervisor, or the relay of a shard, fetches them."""

    def __init__(self) -> None:
        """Start empty."""
        self._received: list[tuple[int, bytes]] = []
        self._has_received = asyncio.Event()
        self._outgoing: dict[int, list[bytes]] = defaultdict(list)
        self._has_outgoing: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def post(self, shard: int, frame: bytes) -> None:
        """Store a frame from a shard."""
        self._received.append((shard, frame))
        self._has_received.set()

    async def receive(self, seconds: float) -> list[tuple[int, bytes]]:
        """Return and remove all frames from shards; wait up to `seconds` for the first."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_received.wait(), seconds)
        received, self._received = self._received, []
        self._has_received.clear()
        return received

    async def send(self, frames: list[tuple[int, bytes]]) -> None:
        """Store frames for shards."""
        for shard, frame in frames:
            self._outgoing[shard].append(frame)
            self._has_outgoing[shard].set()

    async def fetch(self, shard: int) -> list[bytes]:
        """Wait for frames for a shard, and return and remove them; empty after `close`."""
        await self._has_outgoing[shard].wait()
        frames = self._outgoing.pop(shard, [])
        if shard in self._has_outgoing and frames:
            self._has_outgoing[shard].clear()
        return frames

    async def close(self, shard: int) -> None:
        """Discard the frames for a shard that has ended, and end its wait for more."""
        self._outgoing.pop(shard, None)
        self._has_outgoing.pop(shard, asyncio.Event()).set()
