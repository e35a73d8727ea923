"""Runs in the supervisor. Where a batch is done: on this machine, or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stemsplit.executors.local import Workshop, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Self

    from stemsplit.batch.request import Brief
    from stemsplit.core.job import Job
    from stemsplit.executors.local import Ledger
    from stemsplit.journal.records import Past
    from stemsplit.supervisor.pool_interface import Gate, Work, WorkerPool
    from stemsplit.supervisor.pool_plan import Plan


class Hands(Protocol):
    """What does the work of a batch; a context manager around it."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, *exception: object) -> None:
        """Go home; the pool's generator must be closed by then."""

    @property
    def pool(self) -> WorkerPool:
        """What tracks are given to."""

    def work(self, job: Job, output: Path, ledger: Ledger, audio_seconds: float = 0.0, /) -> Work:
        """Make the work for a track; how long it is matters where memory grows with that."""


class Site(Protocol):
    """Where a batch is done; a context manager around all of it."""

    def __enter__(self) -> Self:
        """Find out what there is."""

    def __exit__(self, *exception: object) -> None:
        """Leave it."""

    @property
    def plan(self) -> Plan:
        """How the work is gone about."""

    def hands(self, gate: Gate, /) -> Hands:
        """Give what does it.

        Args:
            gate: is asked before each start.
        """


class Here:
    """This machine.

    Args:
        brief: of the batch.
        model_folder: the verified weights; None where nothing is separated.
        storage: modules that remote files need.
        tracks: how many there are to do.
        past: finished attempts of earlier runs, to learn from.

    Raises:
        InsufficientMemoryError: if not even one track fits.
    """

    def __init__(
        self,
        brief: Brief,
        *,
        model_folder: Path | None,
        storage: frozenset[str],
        tracks: int,
        past: Iterable[Past],
    ) -> None:
        """Make the plan; start nothing."""
        self._brief = brief
        self._model_folder = model_folder
        self._storage = storage
        self.plan = make_plan(
            brief.settings,
            brief.limits,
            jobs=brief.jobs,
            tracks=tracks,
            preloaded=brief.preloaded,
            past=past,
        )

    def __enter__(self) -> Self:
        """Find nothing more out."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave nothing."""

    def hands(self, gate: Gate) -> Workshop:
        """See `Site.hands`."""
        return Workshop(
            self._brief.settings,
            self.plan,
            model_folder=self._model_folder,
            start_method=self._brief.start_method,
            gate=gate,
            storage=self._storage,
        )
