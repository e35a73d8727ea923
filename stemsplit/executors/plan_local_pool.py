"""Runs in the supervisor. Plans the pool of one machine: children, threads, memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stemsplit.core.limits import Limits, Resources
from stemsplit.core.settings import Settings
from stemsplit.models.catalogue import find_model
from stemsplit.models.engines import engine_of
from stemsplit.storage.urls import is_remote, module_of
from stemsplit.supervisor import host_resources
from stemsplit.supervisor.budget import budget_of, choose_concurrency
from stemsplit.supervisor.launcher import usable_start_method
from stemsplit.supervisor.pool_plan import PoolPlan
from stemsplit.supervisor.prediction import Forecast, Kind, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stemsplit.journal.run_records import AttemptMeasurement
    from stemsplit.supervisor.launcher import StartMethod


def plan_pool(
    settings: Settings,
    limits: Limits,
    *,
    jobs: int | None,
    tracks: int | None,
    preloaded: bool,
    past: Iterable[AttemptMeasurement] = (),
) -> PoolPlan:
    """Return the plan of a pool on this machine; starts nothing.

    Args:
        settings: how tracks are separated.
        limits: memory, time and retries.
        jobs: number of children that run at once; None to choose by processors and memory.
        tracks: number of tracks; None if unknown.
        preloaded: whether children share the libraries of a fork server.
        past: finished attempts of earlier runs, which improve the forecast.

    Raises:
        InsufficientMemoryError: if not even one track fits.
    """
    memory = host_resources.host_memory(host_resources.limiting_groups())
    budget = budget_of(limits, memory)
    forecast = Forecast(workload_of(settings), preloaded=preloaded)
    for attempt in past:
        forecast.learn(
            Resources(threads=attempt.threads, lean=attempt.lean),
            private_bytes=attempt.private_bytes,
            audio_seconds=attempt.audio_seconds,
            seconds=attempt.seconds,
        )
    concurrency = choose_concurrency(
        forecast.footprint,
        budget,
        memory,
        host_resources.processors(),
        jobs=1 if settings.mwf else jobs,
        threads=settings.threads,
        tracks=tracks,
    )
    return PoolPlan(concurrency=concurrency, budget=budget, limits=limits, forecast=forecast)


def storage_modules(paths: Iterable[str | bytes | os.PathLike[str]]) -> frozenset[str]:
    """Return the modules that give access to the remote ones among `paths`.

    Raises:
        UsageError: if one is not installed.
    """
    by_scheme = {os.fsencode(path).split(b"/")[1]: path for path in paths if is_remote(path)}
    return frozenset(map(module_of, by_scheme.values()))


def workload_of(settings: Settings) -> Workload:
    """Return what the memory and time of a child depend on."""
    if not settings.separates:
        return Workload(kind="conversion", stems=0)
    kind: Kind = "whole" if settings.mwf else engine_of(settings).name
    return Workload(kind=kind, stems=len(find_model(settings.model).stems))


def start_method_of(settings: Settings, wanted: StartMethod | None = None) -> StartMethod:
    """Return how children are started.

    A fork server shares libraries that load slowly and use much memory: those of TensorFlow. The
    libraries of the ONNX engine are small and load fast, and they start threads on import, which
    rules out a fork.

    Args:
        settings: the settings of the batch, which name the engine.
        wanted: the user's choice; None for the default of this system.
    """
    return usable_start_method(wanted) if engine_of(settings).forkable else "spawn"
