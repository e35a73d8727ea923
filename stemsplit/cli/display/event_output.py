"""Runs in the supervisor. How a batch's events are shown: in lines of text, or as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

import msgspec

from stemsplit.cli.display.bars import DRAINING
from stemsplit.cli.display.text import TextDisplay

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from stemsplit.batch.events import Event
    from stemsplit.cli.display.download_bar import DownloadBar


def print_json(value: object) -> None:
    """Print a value as one line of JSON, at once."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


class Display(Protocol):
    """Shows events; a context manager around the batch."""

    def show(self, event: Event) -> None:
        """Show one event."""

    def drains(self) -> None:
        """Note that Ctrl-C was pressed once, to be said soon; a signal handler may call this."""

    def download_progress(self) -> Callable[[str], DownloadBar] | None:
        """Give what shows the download of a model; None where nothing does."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(self, *_exception: object) -> None:
        """Stop showing and leave a clean screen."""


def choose_display(*, json: bool, quiet: bool, verbose: bool) -> Display:
    """Make the display that the options ask for."""
    if json:
        return JsonDisplay()
    return TextDisplay(quiet=quiet, verbose=verbose)


class JsonDisplay:
    """One JSON object a line, as `stemsplit.batch.events` describes them."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._says_draining = False

    def show(self, event: Event) -> None:
        """Print the event at once."""
        if self._says_draining:
            self._says_draining = False
            print(f"stemsplit: {DRAINING}.", file=sys.stderr, flush=True)
        print_json(event)

    def drains(self) -> None:
        """See `Display.drains`."""
        self._says_draining = True

    def download_progress(self) -> None:
        """Nothing is drawn."""

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing to put away."""
