"""Runs in the supervisor. What a batch is asked for, checked and in one piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.batch.decisions import Wish
from stemsplit.journal.records import settings_key
from stemsplit.library.exclusion import Exclusions
from stemsplit.models.catalogue import written

if TYPE_CHECKING:
    from pathlib import Path

    from stemsplit.core.job import Limits, OnBattery, Order, Settings
    from stemsplit.journal.layout import State
    from stemsplit.library.naming import Template
    from stemsplit.supervisor.launcher import StartMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What a batch is asked for; `stemsplit.batch.api.separate` says what each means.

    Attributes:
        inputs, listed: files, folders and patterns; files and folders from a list.
        listed_in: the folder that relative ones of the list are relative to; None is the current.
        exclusions: files and folders that are left out.
        limit: the most tracks to separate in this run; None if there is none.
        state: the places of what is kept in the output folder.
        template: of the stems' names.
        settings: of the separation.
        limits, jobs: of memory, time and children.
        overwrite, retry_failed: what is done again.
        order: of the work.
        deadline: in seconds since 1970; None if there is none.
        on_battery, keep_awake: what becomes of a laptop.
        start_method: of children.
        version: of stemsplit.
        cluster: where the batch is done on a cluster: `local`, `auto` or an address; None is here.
        path_map: folders that its nodes see at another path, as `HERE=THERE`.
    """

    inputs: tuple[Path, ...]
    listed: tuple[Path, ...]
    state: State
    template: Template
    settings: Settings
    limits: Limits
    jobs: int | None
    overwrite: bool
    retry_failed: bool
    order: Order
    deadline: float | None
    on_battery: OnBattery
    keep_awake: bool
    start_method: StartMethod
    version: str
    cluster: str | None = None
    path_map: tuple[str, ...] = ()
    listed_in: Path | None = None
    exclusions: Exclusions = field(default_factory=Exclusions)
    limit: int | None = None

    @property
    def preloaded(self) -> bool:
        """Whether a fork server shares the libraries with its children."""
        return self.start_method == "forkserver"

    @property
    def stems(self) -> tuple[str, ...]:
        """What is written of each track."""
        return written(self.settings)

    @property
    def wish(self) -> Wish:
        """What is wanted done again."""
        return Wish(
            settings=settings_key(self.settings),
            version=self.version,
            overwrite=self.overwrite,
            retry_failed=self.retry_failed,
            accept_damaged=self.settings.accept_damaged,
        )
