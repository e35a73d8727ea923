"""Runs in the supervisor. The library call behind `stemsplit separate`: inputs in, stems out."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
from typing import TYPE_CHECKING

from stemsplit.batch.control import Control
from stemsplit.batch.dry_run import preview
from stemsplit.batch.planning import checked_limit, paths_of, patterns_of, template_of
from stemsplit.batch.request import BatchRequest
from stemsplit.batch.result import BatchResult
from stemsplit.batch.runner import run
from stemsplit.core.errors import UsageError
from stemsplit.core.limits import Limits
from stemsplit.core.settings import Settings
from stemsplit.core.units import parse_clock_time
from stemsplit.core.version import __version__
from stemsplit.executors.gates import next_time
from stemsplit.executors.pool_planning import start_method_of
from stemsplit.executors.ray_cluster.path_map import PathMap
from stemsplit.library.exclusion import Exclusions
from stemsplit.models.check_settings import checked
from stemsplit.storage.remote import path_of
from stemsplit.supervisor.session import refuse_inside_a_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stemsplit.batch.event_factory import Listener
    from stemsplit.core.limits import OnBattery, Order
    from stemsplit.core.settings import BitDepth, SampleRate, StemFormat
    from stemsplit.models.fetch import Progress as DownloadProgress
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
    """Convert audio files and separate nothing; `song.mp3` becomes `output/song.wav`.

    For anything else, give `separate` settings of the kind `Settings(what="conversion")`.

    Args:
        inputs: audio files, folders and patterns.
        output: made if need be.
        format: of the new files.
        bit_depth: of `wav` and `flac`; what is brought down to 16 bits is dithered, unless it uses
            no more.
        sample_rate: in Hz.
        overwrite: convert again what is done.
        on_event: is told what happens, in this thread.

    Raises:
        StemsplitError: as `separate` does.
    """
    settings = Settings(
        what="conversion", format=format, bit_depth=bit_depth, sample_rate=sample_rate
    )
    return separate(inputs, output, settings, overwrite=overwrite, on_event=on_event)


def separate(  # noqa: PLR0913 - each is a setting that a person names
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

    A track that fails does not stop the others. Stems of one track appear together, in a folder
    below `output` named after the track, or not at all. What was done by an earlier call into the
    same folder, with the same settings, is not done again (docs/libraries.md).

    Args:
        inputs: audio files, folders and patterns.
        output: made if need be.
        settings: model, format and so on.
        listed: as `inputs`; a relative path keeps its folder.
        listed_in: the folder that relative paths in `listed` are relative to; None is the current
            one.
        exclude: patterns of files and folders to leave out: a name at any depth (`Podcasts`,
            `*.m4b`), or a path below the input (`live/**/demo*`).
        limit: separate at most this many tracks, at least 1; the rest is left for the next call.
        name: the template of the stems' names below `output`; None is the usual one.
        limits: of memory, time and retries.
        jobs: how many children may run at once, at least 1; None weighs processors and memory.
        overwrite: do tracks again that are done.
        retry_failed: try tracks again that have failed.
        order: of the work: as given, by path, the shortest first, the newest first.
        until: a time of the day such as `07:00`; nothing is started that would not end by then.
        on_battery: whether to go on while the machine runs on its battery.
        keep_awake: keep the machine from falling asleep meanwhile.
        dry_run: only tell what would be done, as `track_planned` and `plan_made`.
        start_method: `forkserver` or `spawn`; the better one of this system and engine if None.
        cluster: do it on a Ray cluster: `local` starts one on this machine, `auto` takes the
            one that this machine belongs to, `host:port` is an address (docs/cluster.md).
        path_map: folders that its nodes see at another path, each as `HERE=THERE`.
        control: lets others ask the batch to end.
        on_event: is told what happens, in this thread.
        download_progress: shows a model's download; see `stemsplit.models.fetch`.

    Raises:
        UsageError: if the settings contradict each other, or the program lacks the guard of its
            main module.
        ClusterError: if there is no such cluster, or none of its nodes can do the work.
        LockedError: if another run is separating into the same folder.
        ModelError: if the model is missing and cannot be fetched, or is not whole.
        EngineError: if the engine is not installed, or no child process can be started.
        InsufficientMemoryError: if not even one track fits into the memory there is.
        UnwritableError, DiskFullError: if the output folder cannot be used at all.
        KeyboardInterrupt: as it came; the children are ended and nothing is half-written.
    """
    refuse_inside_a_child()
    settings = checked(settings or Settings(), jobs=jobs)
    if not os.fspath(output):
        raise UsageError("The output folder has no name.", "Is a variable of your shell not set?")
    path_map = tuple(path_map)
    _require_cluster(cluster, path_map)
    request = BatchRequest(
        inputs=tuple(paths_of(inputs)),
        listed=tuple(paths_of(listed)),
        listed_in=None if listed_in is None else path_of(listed_in),
        exclusions=Exclusions(patterns_of(exclude)),
        limit=checked_limit(limit),
        output=path_of(output).absolute(),
        template=template_of(settings, name),
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
        return preview(request, on_event)
    return run(request, control or Control(), on_event, download_progress)


def _require_cluster(cluster: str | None, path_map: tuple[str, ...]) -> None:
    """Find out what cannot be before anything is made."""
    PathMap.parse(path_map)
    if cluster is None and path_map:
        raise UsageError(
            "--path-map says where the nodes of a cluster see a folder.", "Give --cluster as well."
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
            f"The cluster cannot be reached by a client, as {cluster} asks for.",
            "Run stemsplit on a node of the cluster, with --cluster auto.",
        )


def _deadline(until: str) -> float:
    """Give the next moment at which it is so late, in seconds since 1970."""
    hour, minute = parse_clock_time(until, "until")
    now = dt.datetime.now()  # noqa: DTZ005 - the clock on the wall is meant
    return next_time(hour, minute, now).timestamp()
