"""Work on a thread of its own: in order, one item ahead, and nothing left behind."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from stemsplit.child.prefetch import ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_items_come_in_order_from_another_thread() -> None:
    """All of them, and the thread ends with the last one."""

    def items() -> Iterator[tuple[int, str]]:
        for number in range(50):
            yield number, threading.current_thread().name

    taken = list(ahead(items()))
    assert [number for number, _ in taken] == list(range(50))
    assert {name for _, name in taken} == {"ahead"}
    assert "ahead" not in _threads()


def test_one_item_is_made_while_another_is_used_and_no_more() -> None:
    """Memory holds two of them at any time."""
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        for number in range(6):
            made += 1
            yield number

    for number in ahead(items()):
        deadline = time.monotonic() + 5
        while made < min(number + 2, 6) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert made == min(number + 2, 6)


def test_an_error_comes_after_the_items_before_it() -> None:
    """It is raised where the items are taken."""

    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError("here")

    worker = ahead(items())
    assert next(worker) == 1
    with pytest.raises(ZeroDivisionError, match="here"):
        next(worker)
    assert "ahead" not in _threads()


def test_what_is_closed_early_closes_its_items_on_their_thread() -> None:
    """A file that is open in them is closed; no thread goes on."""
    closed_on = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed_on.append(threading.current_thread().name)

    endless = ahead(items())
    next(endless)
    endless.close()
    assert closed_on == ["ahead"]
    assert "ahead" not in _threads()


def test_two_in_a_row_work_side_by_side() -> None:
    """Three steps of a tenth of a second each overlap: each is at another item."""
    at_work: set[str] = set()
    most = 0
    lock = threading.Lock()

    def step(name: str, before: Iterator[int]) -> Iterator[int]:
        nonlocal most
        for item in before:
            with lock:
                at_work.add(name)
                most = max(most, len(at_work))
            time.sleep(0.05)
            with lock:
                at_work.discard(name)
            yield item

    first = ahead(step("first", iter(range(8))))
    assert list(step("third", ahead(step("second", first)))) == list(range(8))
    assert most == 3
