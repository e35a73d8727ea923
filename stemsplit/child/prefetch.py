"""Runs in the child. Iterates on another thread, one item ahead of the consumer.

NumPy, SciPy, TensorFlow and the audio libraries release the GIL while they compute, so the threads
of a pipeline run in parallel.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Item = TypeVar("Item")


def prefetched(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Iterate over `items` on a separate thread, one item ahead.

    While the consumer uses an item, the thread computes the next one. It does not start the one
    after that until the consumer takes the next one, so at most two items exist at a time.

    Args:
        items: used only on that thread. If the consumer closes the generator early, the thread
            closes `items` too, if it has a `close` method.

    Yields:
        the items, in order.

    Raises:
        BaseException: what `items` raises, after the items before it.
    """
    worker = _Worker(items)
    try:
        while (item := worker.next_item()) is not _Worker.END:
            yield item  # type: ignore[misc]  # it is not END
    finally:
        worker.join()


class _Worker:
    """The thread, with a buffer for one item."""

    END = object()

    def __init__(self, items: Iterator[object]) -> None:
        self._items = items
        self._buffer: deque[object] = deque()
        self._error: BaseException | None = None
        self._may_compute = threading.Semaphore(1)
        self._has_computed = threading.Semaphore(0)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def next_item(self) -> object:
        """Wait for the next item and start the one after it; return `END` after the last."""
        self._has_computed.acquire()
        if self._error is not None:
            raise self._error
        self._may_compute.release()
        return self._buffer.popleft()

    def join(self) -> None:
        """Start no more items and wait until the current one is done."""
        self._is_stopping = True
        self._may_compute.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._compute_items()
        except BaseException as error:  # noqa: BLE001 - `next_item` raises it
            self._error = error
        self._has_computed.release()

    def _compute_items(self) -> None:
        try:
            while True:
                self._may_compute.acquire()
                if self._is_stopping:
                    return
                item = next(self._items, self.END)
                self._buffer.append(item)
                if item is self.END:
                    return
                self._has_computed.release()
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
