"""Iterating on another thread, one item ahead."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from stemsplit.child.prefetch import prefetched

if TYPE_CHECKING:
    from collections.abc import Iterator


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_items_come_in_order_from_another_thread() -> None:
    """The thread ends after the last item."""

    def items() -> Iterator[tuple[int, str]]:
        for number in range(50):
            yield number, threading.current_thread().name

    received = list(prefetched(items()))
    assert [number for number, _ in received] == list(range(50))
    assert {name for _, name in received} == {"prefetch"}
    assert "prefetch" not in _threads()


def test_one_item_is_computed_while_another_is_used() -> None:
    """Never more than two items exist."""
    computed = 0

    def items() -> Iterator[int]:
        nonlocal computed
        for number in range(6):
            computed += 1
            yield number

    for number in prefetched(items()):
        deadline = time.monotonic() + 5
        while computed < min(number + 2, 6) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert computed == min(number + 2, 6)


def test_an_error_comes_after_the_items_before_it() -> None:
    """It is raised in the consumer."""

    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("failed")

    prefetching = prefetched(items())
    assert next(prefetching) == 1
    with pytest.raises(ZeroDivisionError, match="failed"):
        next(prefetching)
    assert "prefetch" not in _threads()


def test_closing_early_closes_the_items_on_their_thread() -> None:
    """A generator closes its open files, and the thread ends."""
    closed_on = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed_on.append(threading.current_thread().name)

    endless = prefetched(items())
    next(endless)
    endless.close()
    assert closed_on == ["prefetch"]
    assert "prefetch" not in _threads()


def test_chained_stages_run_in_parallel() -> None:
    """Three slow stages process different items at the same time."""
    busy: set[str] = set()
    most_busy = 0
    lock = threading.Lock()

    def stage(name: str, items: Iterator[int]) -> Iterator[int]:
        nonlocal most_busy
        for item in items:
            with lock:
                busy.add(name)
                most_busy = max(most_busy, len(busy))
            time.sleep(0.05)
            with lock:
                busy.discard(name)
            yield item

    first = prefetched(stage("first", iter(range(8))))
    assert list(stage("third", prefetched(stage("second", first)))) == list(range(8))
    assert most_busy == 3
