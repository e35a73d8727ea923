"""Runs in the supervisor. Keeps the machine awake while a batch runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def keep_awake(note: Callable[[str], None]) -> Iterator[None]:
    """Keep the machine from going to sleep within this context.

    Args:
        note: called with a message for the user if that is impossible.
    """
    from wakepy import keep

    with keep.running(on_fail="pass") as mode:
        if not mode.active:
            note(
                "this machine cannot be kept awake (no desktop session, or none that allows it): "
                "change its sleep settings instead"
            )
        yield
