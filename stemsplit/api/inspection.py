"""Runs in the supervisor. What audio files truly hold, and what separating them would take.

Each file is read in a process of its own, so that one that crashes a decoder takes nothing along.
"""

from __future__ import annotations

import math
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.planning import paths_of
from stemsplit.core.compat import run_module
from stemsplit.core.errors import InsufficientMemoryError, StemsplitError
from stemsplit.core.inspection_result import Measurement, NotMeasured
from stemsplit.core.limits import Limits
from stemsplit.core.settings import AUTOMATIC, Settings
from stemsplit.core.text import printable, quoted
from stemsplit.executors.pool_planning import plan_pool, start_method_of
from stemsplit.library.scan import Problem, scan
from stemsplit.models.check_settings import checked
from stemsplit.storage.remote import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from stemsplit.supervisor.pool_plan import PoolPlan

_SECONDS_FOR_SURE = 300.0
_SECONDS_A_MEGABYTE = 2.0
"""Longest time for a file, by its size: some ten times what the slowest decoder takes."""

_answers: msgspec.json.Decoder[Measurement | NotMeasured] = msgspec.json.Decoder(
    Measurement | NotMeasured
)


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one file; `stemsplit inspect --json` prints these.

    Attributes:
        path: the file.
        format: container and encoding, `WAV PCM_24`.
        sample_rate: in Hz.
        nyquist_hertz: half of it: the highest frequency that it can hold.
        channels: the name of each, as FFmpeg has them.
        frames: samples a channel that there are.
        seconds: duration.
        size_bytes: of the file.
        declared_bits: of a sample; null for a lossy encoding.
        floating: whether samples are floating point.
        used_bits: the bits that suffice for every sample; null for a lossy encoding and where no
            integers would do.
        peak_dbfs: the largest sample, 0 at full scale; null for silence.
        true_peak_dbtp: the largest value between samples; null for silence, or if the file is too
            short to tell.
        loudness_lufs: integrated loudness; null likewise.
        loudness_range_lu: from soft to loud; null likewise.
        warning: what is missing or damaged; empty if nothing is.
        notes: what else there is to know, such as other audio tracks.
        model: that the prediction is for.
        predicted_memory_bytes: of all processes together, while this file is separated; null where
            this machine has not as much.
        predicted_seconds: that this takes; null likewise.
    """

    path: str
    format: str
    sample_rate: int
    nyquist_hertz: float
    channels: tuple[str, ...]
    frames: int
    seconds: float
    size_bytes: int
    declared_bits: int | None
    floating: bool
    used_bits: int | None
    peak_dbfs: float | None
    true_peak_dbtp: float | None
    loudness_lufs: float | None
    loudness_range_lu: float | None
    warning: str
    notes: tuple[str, ...]
    model: str
    predicted_memory_bytes: int | None
    predicted_seconds: float | None

    @property
    def is_padded(self) -> bool:
        """Whether its samples have more bits than they use."""
        return (
            self.declared_bits is not None
            and self.used_bits is not None
            and self.used_bits < self.declared_bits
        )


class NotInspected(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which nothing can be said but this.

    Attributes:
        path: the file.
        error: one sentence.
        remedy: what to do next.
    """

    path: str
    error: str
    remedy: str


def inspect(
    inputs: Iterable[str | os.PathLike[str]], *, model: str = "2stems", engine: str = AUTOMATIC
) -> Iterator[Inspection | NotInspected]:
    """Read files to their ends and tell what they hold.

    Args:
        inputs: audio files, folders and patterns.
        model: that separating them is predicted for.
        engine: likewise, as `Settings.engine`.

    Yields:
        one entry a file, in order.

    Raises:
        UsageError: if there is no such model, or no such engine.
        EngineError: if the engine is not installed.
    """
    settings = checked(Settings(model=model, engine=engine), jobs=1)
    preloaded = start_method_of(settings) == "forkserver"
    try:
        plan = plan_pool(settings, Limits(), jobs=1, tracks=1, preloaded=preloaded)
    except InsufficientMemoryError:
        plan = None
    paths = [local_path(path, "inspect") for path in paths_of(inputs)]
    found = scan(paths, with_stems=True)
    for problem in found.problems:
        yield _failed(problem)
    for track in found.tracks:
        try:
            answer = _measured(track.path)
        except StemsplitError as error:
            answer = NotMeasured(message=error.message, remedy=error.remedy)
        if isinstance(answer, NotMeasured):
            yield NotInspected(
                path=printable(track.path), error=answer.message, remedy=answer.remedy
            )
        else:
            yield _told(track.path, answer, plan, settings.model)


def _failed(problem: Problem) -> NotInspected:
    return NotInspected(path=printable(problem.path), error=problem.message, remedy=problem.remedy)


def _measured(path: Path) -> Measurement | NotMeasured:
    try:
        size = path.stat().st_size
        done = subprocess.run(  # noqa: S603 - this very program, with a path
            [*run_module("stemsplit.child.inspect"), Path.absolute(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS_FOR_SURE + _SECONDS_A_MEGABYTE * size / 1e6,
            check=False,
        )
        return _answers.decode(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise StemsplitError(
            f"{quoted(path.name)} was not read to its end in {error.timeout:.0f} s.",
            "It may be damaged; look into it with another program.",
        ) from error
    except OSError as error:
        raise StemsplitError(
            f"{quoted(path.name)} cannot be looked at ({error.strerror}).", "Check the path."
        ) from error
    except msgspec.DecodeError as error:
        raise StemsplitError(
            f"{quoted(path.name)} made the process that read it end with {_end(done.returncode)}.",
            "It is damaged in a way that its decoder does not survive: export it again.",
        ) from error


def _end(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _told(path: Path, found: Measurement, plan: PoolPlan | None, model: str) -> Inspection:
    info, seconds = found.info, found.frames / found.info.sample_rate
    memory = time = None
    if plan is not None:
        memory = plan.forecast.footprint(plan.concurrency.resources).alone_bytes
        time = plan.forecast.seconds(seconds, plan.concurrency.resources)
    return Inspection(
        path=printable(path),
        format=f"{info.format} {info.subtype}",
        sample_rate=info.sample_rate,
        nyquist_hertz=info.sample_rate / 2,
        channels=found.channels,
        frames=found.frames,
        seconds=seconds,
        size_bytes=found.size_bytes,
        declared_bits=info.bits,
        floating=info.floating,
        used_bits=found.used_bits,
        peak_dbfs=_decibels(found.peak),
        true_peak_dbtp=_decibels(found.true_peak),
        loudness_lufs=found.loudness_lufs,
        loudness_range_lu=found.loudness_range_lu,
        warning=found.warning,
        notes=found.notes,
        model=model,
        predicted_memory_bytes=memory,
        predicted_seconds=time,
    )


def _decibels(value: float | None) -> float | None:
    return None if not value else 20 * math.log10(value)
