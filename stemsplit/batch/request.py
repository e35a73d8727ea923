"""Runs in the supervisor. What a batch is asked for, checked and in one piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.batch.decisions import RedoPolicy
from stemsplit.executors.base import ExecutionRequest
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.records import settings_key
from stemsplit.library.exclusion import Exclusions
from stemsplit.models.catalogue import written

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.core.limits import OnBattery, Order
    from stemsplit.library.naming import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest(ExecutionRequest):
    """A batch as `stemsplit.batch.api.separate` was asked for it, checked.

    Attributes:
        inputs: files, folders and patterns.
        listed: files and folders from a list.
        listed_in: the folder that relative paths in `listed` start from; None for the current one.
        exclusions: files and folders to leave out.
        limit: the largest number of tracks to separate in this run; None for no limit.
        template: of the stems' names below the output folder.
        overwrite: whether finished tracks are separated again.
        retry_failed: whether failed tracks are tried again.
        order: in which tracks start.
        on_battery: whether tracks start while the machine runs on its battery.
        keep_awake: whether the machine is kept from going to sleep.
        version: of stemsplit.
    """

    inputs: tuple[Path, ...]
    listed: tuple[Path, ...]
    template: Template
    overwrite: bool
    retry_failed: bool
    order: Order
    on_battery: OnBattery
    keep_awake: bool
    version: str
    listed_in: Path | None = None
    exclusions: Exclusions = field(default_factory=Exclusions)
    limit: int | None = None

    @property
    def state(self) -> OutputLayout:
        """The files that stemsplit keeps in the output folder."""
        return OutputLayout(self.output)

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems that are written of each track."""
        return written(self.settings)

    @property
    def redo_policy(self) -> RedoPolicy:
        """Which finished or failed tracks are separated again."""
        return RedoPolicy(
            settings=settings_key(self.settings),
            version=self.version,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            accept_damaged=self.settings.accept_damaged,
        )
