"""Runs in the supervisor. A bar for the download of a model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stemsplit.cli.display.bars import can_draw

if TYPE_CHECKING:
    from collections.abc import Callable


class DownloadBar:
    """A bar for one download, with the interface that `stemsplit.models.fetch` asks for."""

    def __init__(self, name: str, console: Console) -> None:
        """Show an empty bar."""
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._bars.add_task(f"fetching {name}", total=None)
        self._total = 0
        self._bars.start()

    @property
    def total(self) -> int:
        """The size of the download in bytes; 0 until it is known."""
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        self._bars.update(self._bar, total=size)

    def update(self, n: int) -> None:
        """Add `n` bytes."""
        self._bars.update(self._bar, advance=n)

    def reset(self) -> None:
        """Go back to 0 bytes."""
        self._bars.reset(self._bar)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bars.stop()


def download_display(console: Console | None = None) -> Callable[[str], DownloadBar] | None:
    """Give what makes a bar for a download, or None where there is no terminal for it."""
    shown_on = console or Console(stderr=True)
    return partial(DownloadBar, console=shown_on) if can_draw(shown_on) else None
