"""Runs in an actor of Ray's beside the supervisor. Where shards leave word, and find orders.

Keeps nothing that must not be lost: what was said and not taken is gone with the supervisor, and
then its shards end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict


class Mailbox:
    """Takes frames from shards to the supervisor and back."""

    def __init__(self) -> None:
        """Have nothing yet."""
        self._said: list[tuple[int, bytes]] = []
        self._orders: dict[int, list[bytes]] = defaultdict(list)
        self._has_said = asyncio.Event()
        self._has_orders: dict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def post(self, shard: int, frame: bytes) -> None:
        """Leave word."""
        self._said.append((shard, frame))
        self._has_said.set()

    async def take(self, seconds: float) -> list[tuple[int, bytes]]:
        """Take all that was said, having waited for it so long at the most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_said.wait(), seconds)
        said, self._said = self._said, []
        self._has_said.clear()
        return said

    async def order(self, orders: list[tuple[int, bytes]]) -> None:
        """Leave orders for shards."""
        for shard, frame in orders:
            self._orders[shard].append(frame)
            self._has_orders[shard].set()

    async def orders(self, shard: int) -> list[bytes]:
        """Wait for orders; none means that the shard has ended."""
        await self._has_orders[shard].wait()
        orders = self._orders.pop(shard, [])
        if shard in self._has_orders and orders:
            self._has_orders[shard].clear()
        return orders

    async def close(self, shard: int) -> None:
        """Let nobody wait for orders to this shard any more."""
        self._orders.pop(shard, None)
        self._has_orders.pop(shard, asyncio.Event()).set()
