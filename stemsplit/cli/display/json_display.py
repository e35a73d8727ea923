"""Runs in the supervisor. Prints values and a batch's events as lines of JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec

from stemsplit.cli.display.progress_text import DRAINING

if TYPE_CHECKING:
    from typing import Self

    from stemsplit.batch.events import Event


def print_json(value: object) -> None:
    """Print a value as one line of JSON and flush."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


class JsonDisplay:
    """Prints one JSON object per line, as `stemsplit.batch.events` describes them."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._draining_to_show = False

    def show(self, event: Event) -> None:
        """Print the event at once."""
        if self._draining_to_show:
            self._draining_to_show = False
            print(f"stemsplit: {DRAINING}.", file=sys.stderr, flush=True)
        print_json(event)

    def show_draining(self) -> None:
        """See `TextDisplay.show_draining`."""
        self._draining_to_show = True

    def download_progress(self) -> None:
        """Return None: downloads are not shown."""

    def __enter__(self) -> Self:
        """Return the display."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Do nothing."""
