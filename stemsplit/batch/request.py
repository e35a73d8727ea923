"""Runs in the supervisor. The checked request for a batch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.batch.decisions import RedoPolicy
from stemsplit.core.errors import UsageError
from stemsplit.core.text import quoted
from stemsplit.executors.base import ExecutionRequest
from stemsplit.journal.job_records import settings_key
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.library.exclude_patterns import Exclusions
from stemsplit.storage.urls import path_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stemsplit.core.limits import OnBattery, Order
    from stemsplit.library.naming import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest(ExecutionRequest):
    """The arguments of `stemsplit.batch.api.separate`, which describes them, checked.

    Attributes:
        exclusions: files and folders to leave out.
        template: of the stems' file names below the output folder.
        version: version of stemsplit.
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
    def layout(self) -> OutputLayout:
        """The files that stemsplit keeps in the output folder."""
        return OutputLayout(self.output)

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


def checked_paths(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield the inputs as paths.

    Raises:
        UsageError: if an input is empty, or `inputs` is a single path.
    """
    if isinstance(inputs, str | bytes | os.PathLike):
        raise UsageError(
            f"The inputs must be a list of paths, not {quoted(inputs)}.", "Put the path in a list."
        )
    for path in inputs:
        if not os.fspath(path):
            raise UsageError(
                "An input has an empty name.", "Check that your shell variables are set."
            )
        yield path_of(path)
