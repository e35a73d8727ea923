"""Runs in the child. Work that goes on while its last result is used: a pipeline of threads.

NumPy, SciPy, TensorFlow and the libraries for audio let go of the interpreter's lock while they
work, so that several processors are used.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """Let an iterator work on a thread of its own, one item ahead.

    While an item is used, the next one is made; the one after it is not begun before that one is
    taken. So no more than two of them exist at any time.

    Args:
        items: is iterated on that thread alone, and closed on it, if it can be, when this iterator
            is closed early.

    Yields:
        its items, in order.

    Raises:
        BaseException: what `items` raises, after the items before it.
    """
    worker = _Worker(items)
    try:
        while (item := worker.take()) is not _Worker.END:
            yield item  # type: ignore[misc]  # it is no END
    finally:
        worker.end()


class _Worker:
    """The thread, and one place for an item."""

    END = object()

    def __init__(self, items: Iterator[object]) -> None:
        self._items = items
        self._made: deque[object] = deque()
        self._error: BaseException | None = None
        self._may_make = threading.Semaphore(1)
        self._has_made = threading.Semaphore(0)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def take(self) -> object:
        """Wait for the next item and let the one after it be made; gives `END` after the last."""
        self._has_made.acquire()
        if self._error is not None:
            raise self._error
        self._may_make.release()
        return self._made.popleft()

    def end(self) -> None:
        """Make no more, and wait until what is being made is done."""
        self._ending = True
        self._may_make.release()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the items are taken
            self._error = error
        self._has_made.release()

    def _work(self) -> None:
        try:
            while True:
                self._may_make.acquire()
                if self._ending:
                    return
                item = next(self._items, self.END)
                self._made.append(item)
                if item is self.END:
                    return
                self._has_made.release()
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
