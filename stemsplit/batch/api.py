"""Runs in the supervisor. The public calls `separate` and `convert`."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
from typing import TYPE_CHECKING

from stemsplit.batch.control import Control
from stemsplit.batch.dry_run import dry_run_batch
from stemsplit.batch.planning import template_for
from stemsplit.batch.request import BatchRequest, checked_paths
from stemsplit.batch.result import BatchResult
from stemsplit.batch.runner import run_batch
from stemsplit.core.errors import UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted
from stemsplit.core.units import parse_clock_time
from stemsplit.core.version import __version__
from stemsplit.executors.plan_local_pool import start_method_of
from stemsplit.executors.ray_cluster.path_map import PathMap
from stemsplit.executors.start_gates import next_time
from stemsplit.library.exclude_patterns import Exclusions
from stemsplit.models.check_settings import check_settings
from stemsplit.storage.urls import path_of
from stemsplit.supervisor.session import refuse_inside_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stemsplit.batch.event_factory import Listener
    from stemsplit.core.limits import OnBattery, Order
    from stemsplit.core.settings import BitDepth, SampleRate, StemFormat
    from stemsplit.models.download import Progress as DownloadProgress
    from stemsplit.supervisor.launcher import StartMethod

__all__ = ["BatchResult", "Control", "convert", "separate"]


def convert(
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    format: StemFormat = "wav",  # noqa: A002 - the setting's name
    bit_depth: BitDepth = "source",
    sample_rate: SampleRate = "source",
    overwrite: bool = False,
    on_event: Listener = lambda _event: None,
) -> BatchResult:
    """Convert audio files without separating them; `song.mp3` becomes `output/song.wav`.

    For other options, call `separate` with `Settings(what="conversion")`.

    Args:
        inputs: audio files, folders and patterns.
        output: the output folder; created if missing.
        format: format of the new files.
        bit_depth: bit depth of `wav` and `flac`. A reduction to 16 bits is dithered, unless the
            source uses no more than 16.
        sample_rate: in Hz.
        overwrite: convert tracks again that are already converted.
        on_event: called with each event, in this thread.

    Raises:
        StemsplitError: as `separate` does.
    """
    settings = Settings(
        what="conversion", format=format, bit_depth=bit_depth, sample_rate=sample_rate
    )
    return separate(inputs, output, settings, overwrite=overwrite, on_event=on_event)


def separate(  # noqa: PLR0913 - each is an option of the command
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    listed: Iterable[str | os.PathLike[str]] = (),
    listed_in: str | os.PathLike[str] | None = None,
    exclude: Iterable[str] = (),
    limit: int | None = None,
    name: str | None = None,
    limits: Limits | None = None,
    jobs: int | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    order: Order = "given",
    until: str | None = None,
    on_battery: OnBattery = "run",
    keep_awake: bool = False,
    dry_run: bool = False,
    start_method: StartMethod | None = None,
    cluster: str | None = None,
    path_map: Iterable[str] = (),
    control: Control | None = None,
    on_event: Listener = lambda _event: None,
    download_progress: Callable[[str], DownloadProgress] | None = None,
) -> BatchResult:
    """Separate audio files into stems, each in a child process of its own.

    A failed track does not stop the others. The stems of a track appear together, in a folder below
    `output` named after the track, or not at all. Tracks that an earlier call separated into the
    same folder with the same settings are skipped (docs/libraries.md).

    Args:
        inputs: audio files, folders and patterns.
        output: the output folder; created if missing.
        settings: model, format and other properties of the stems.
        listed: further inputs; a relative path keeps its folder below `output`.
        listed_in: folder that relative paths in `listed` start from; None for the current folder.
        exclude: patterns of files and folders to ignore: a name at any depth (`Podcasts`, `*.m4b`),
            or a path below the input (`live/**/demo*`).
        limit: maximum number of tracks to separate, at least 1; the rest is left for another call.
        name: template of the stems' file names below `output`; None for the default.
        limits: of memory, time and retries.
        jobs: maximum number of children that run at once, at least 1; None to choose from the
            available processors and memory.
        overwrite: separate tracks again that are already done.
        retry_failed: retry tracks that failed in an earlier call.
        order: in which tracks start: as given, by path, shortest first or newest first.
        until: a time of day such as `07:00`; tracks that cannot finish by then are not started.
        on_battery: whether tracks start while the machine runs on battery power.
        keep_awake: keep the machine from going to sleep during the call.
        dry_run: only report what would be done, in the events `track_planned` and `plan_made`.
        start_method: `forkserver` or `spawn`; None for the better one for this system and engine.
        cluster: the Ray cluster to run on: `local` starts one on this machine, `auto` uses the
            cluster that this machine belongs to, `host:port` is an address (docs/cluster.md). None
            runs the batch on this machine.
        path_map: folders that the cluster's nodes see at another path, each as `LOCAL=REMOTE`.
        control: drains or stops the batch from another thread or a signal handler.
        on_event: called with each event, in this thread.
        download_progress: returns the progress display of a model's download; see
            `stemsplit.models.download`.

    Raises:
        UsageError: if an argument is invalid, settings contradict each other, or the calling
            program lacks the guard of its main module.
        ClusterError: if the cluster cannot be reached, or none of its nodes can run a track.
        LockedError: if another run is separating into the same folder.
        ModelError: if the model is missing and cannot be downloaded, or is incomplete.
        EngineError: if the engine is not installed, or no child process can be started.
        InsufficientMemoryError: if not even one track fits into memory.
        UnwritableError, DiskFullError: if nothing can be written to the output folder.
        KeyboardInterrupt: if it is interrupted. The children are ended; no stem is half-written.
    """
    refuse_inside_child()
    settings = check_settings(settings or Settings(), jobs=jobs)
    if not os.fspath(output):
        raise UsageError("No output folder given.", "Add -o FOLDER; is a shell variable unset?")
    path_map = tuple(path_map)
    _require_cluster(cluster, path_map)
    _check_selection(exclude, limit)
    request = BatchRequest(
        inputs=tuple(checked_paths(inputs)),
        listed=tuple(checked_paths(listed)),
        listed_in=None if listed_in is None else path_of(listed_in),
        exclusions=Exclusions(exclude),
        limit=limit,
        output=path_of(output).absolute(),
        template=template_for(settings, name),
        settings=settings,
        limits=limits or Limits(),
        jobs=jobs,
        overwrite=overwrite,
        retry_failed=retry_failed,
        order=order,
        deadline=None if until is None else _deadline(until),
        on_battery=on_battery,
        keep_awake=keep_awake,
        start_method=start_method_of(settings, start_method),
        version=__version__,
        cluster=cluster,
        path_map=path_map,
    )
    if dry_run:
        return dry_run_batch(request, on_event)
    return run_batch(request, control or Control(), on_event, download_progress)


def _check_selection(exclude: Iterable[str], limit: int | None) -> None:
    if isinstance(exclude, str):
        raise UsageError(
            f"exclude must be a list of patterns, not {quoted(exclude)}.",
            "Put the pattern in a list.",
        )
    if limit is not None and limit < 1:
        raise UsageError(f"Invalid limit: {limit}.", "Use 1 track or more.")


def _require_cluster(cluster: str | None, path_map: tuple[str, ...]) -> None:
    """Check the cluster options before anything is created."""
    PathMap.parse(path_map)
    if cluster is None and path_map:
        raise UsageError(
            "--path-map applies only to a cluster.", "Add --cluster, or leave out --path-map."
        )
    if cluster is None:
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "--cluster needs Ray, which is not installed.",
            "Run `pip install '.[ray]'` in a clone of stemsplit, here and on every node.",
        )
    if "://" in cluster:
        raise UsageError(
            f"stemsplit cannot connect to a cluster as a Ray client ({cluster}).",
            "Run stemsplit on a node of the cluster, with --cluster auto.",
        )


def _deadline(until: str) -> float:
    """Return the next moment at which the clock shows `until`, in seconds since 1970."""
    hour, minute = parse_clock_time(until, "until")
    now = dt.datetime.now()  # noqa: DTZ005 - local time is meant
    return next_time(hour, minute, now).timestamp()
