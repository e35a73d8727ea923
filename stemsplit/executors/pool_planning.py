"""Runs in the supervisor. The plan of a pool on this machine: children, threads, memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stemsplit.core.limits import Limits, Resources
from stemsplit.core.settings import Settings
from stemsplit.models.catalogue import find
from stemsplit.models.engines import engine_of
from stemsplit.storage.remote import is_remote, module_of
from stemsplit.supervisor import host
from stemsplit.supervisor.budget import budget_of, choose_concurrency
from stemsplit.supervisor.launcher import usable_start_method
from stemsplit.supervisor.pool_plan import PoolPlan
from stemsplit.supervisor.prediction import Forecast, Kind, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stemsplit.journal.records import PastAttempt
    from stemsplit.supervisor.launcher import StartMethod


def plan_pool(
    settings: Settings,
    limits: Limits,
    *,
    jobs: int | None,
    tracks: int | None,
    preloaded: bool,
    past: Iterable[PastAttempt] = (),
) -> PoolPlan:
    """Decide how a pool goes about its work on this machine; starts nothing.

    Args:
        settings: how tracks are separated.
        limits: of memory, time and retries.
        jobs: how many children at once; None weighs processors against memory.
        tracks: how many there are to do, None if that is not known.
        preloaded: whether a fork server shares the libraries with its children.
        past: finished attempts of earlier runs, to learn from.

    Raises:
        InsufficientMemoryError: if not even one track fits.
    """
    memory = host.host_memory(host.limiting_groups())
    budget = budget_of(limits, memory)
    forecast = Forecast(workload_of(settings), preloaded=preloaded)
    for one in past:
        forecast.learn(
            Resources(threads=one.threads, lean=one.lean),
            private_bytes=one.private_bytes,
            audio_seconds=one.audio_seconds,
            seconds=one.seconds,
        )
    concurrency = choose_concurrency(
        forecast.footprint,
        budget,
        memory,
        host.processors(),
        jobs=1 if settings.mwf else jobs,
        threads=settings.threads,
        tracks=tracks,
    )
    return PoolPlan(concurrency=concurrency, budget=budget, limits=limits, forecast=forecast)


def storage_of(paths: Iterable[str | bytes | os.PathLike[str]]) -> frozenset[str]:
    """Give the modules that the remote ones of some paths need.

    Raises:
        UsageError: if one is not installed.
    """
    kinds = {os.fsencode(one).split(b"/")[1]: one for one in paths if is_remote(one)}
    return frozenset(map(module_of, kinds.values()))


def workload_of(settings: Settings) -> Workload:
    """Give what a child's memory and time depend on."""
    if not settings.separates:
        return Workload(kind="conversion", stems=0)
    kind: Kind = "whole" if settings.mwf else engine_of(settings).name
    return Workload(kind=kind, stems=len(find(settings.model).stems))


def start_method_of(settings: Settings, wanted: StartMethod | None = None) -> StartMethod:
    """Give how children are started: as is wanted, or as serves them best, if it can be.

    A fork server shares libraries that take long to load and much memory: TensorFlow's. Those of
    the engine onnx take little of either, and have threads once they are imported.
    """
    return usable_start_method(wanted) if engine_of(settings).forkable else "spawn"
