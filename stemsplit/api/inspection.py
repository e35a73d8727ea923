"""Runs in the supervisor. Measures audio files, and predicts memory and time of their separation.

Each file is read in its own process, so that a decoder crash affects only that file.
"""

from __future__ import annotations

import math
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from stemsplit.batch.request import checked_paths
from stemsplit.core.audio_info import Measurement, NotMeasured
from stemsplit.core.compat import run_module
from stemsplit.core.errors import InsufficientMemoryError, StemsplitError
from stemsplit.core.limits import Limits
from stemsplit.core.settings import AUTOMATIC, Settings
from stemsplit.core.text import printable, quoted
from stemsplit.executors.plan_local_pool import plan_pool, start_method_of
from stemsplit.library.scan import scan
from stemsplit.models.check_settings import check_settings
from stemsplit.storage.urls import local_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from stemsplit.supervisor.pool_plan import PoolPlan

_MIN_TIMEOUT_SECONDS = 300.0
_TIMEOUT_SECONDS_PER_MEGABYTE = 2.0
"""Timeout of a file by its size, about ten times what the slowest decoder needs."""

_decoder: msgspec.json.Decoder[Measurement | NotMeasured] = msgspec.json.Decoder(
    Measurement | NotMeasured
)


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one file; `stemsplit inspect --json` prints these.

    Attributes:
        path: the file.
        format: container and encoding, such as `WAV PCM_24`.
        sample_rate: in Hz.
        nyquist_hertz: highest frequency, half the sample rate.
        channels: FFmpeg's name of each channel.
        frames: decoded samples per channel.
        seconds: duration.
        size_bytes: size of the file.
        declared_bits: bits per sample; null for a lossy encoding.
        floating: whether samples are floating point.
        used_bits: smallest bit depth that represents every sample; null for a lossy encoding, or if
            no integer bit depth does.
        peak_dbfs: largest sample in dBFS; null for silence.
        true_peak_dbtp: largest value between samples in dBTP; null for silence, or if the file is
            too short to measure.
        loudness_lufs: integrated loudness in LUFS; null as for `true_peak_dbtp`.
        loudness_range_lu: loudness range in LU; null as for `true_peak_dbtp`.
        warning: what is missing or damaged; empty if nothing is.
        notes: further information, such as other audio tracks.
        model: model of the prediction.
        predicted_memory_bytes: memory of all processes while this file is separated; null if this
            machine has less.
        predicted_seconds: time of the separation; null if `predicted_memory_bytes` is.
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
        """Whether the file declares more bits than its samples use."""
        return (
            self.declared_bits is not None
            and self.used_bits is not None
            and self.used_bits < self.declared_bits
        )


class NotInspected(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be inspected.

    Attributes:
        path: the file.
        error: what is wrong, one sentence.
        remedy: what to do.
    """

    path: str
    error: str
    remedy: str


def inspect(
    inputs: Iterable[str | os.PathLike[str]], *, model: str = "2stems", engine: str = AUTOMATIC
) -> Iterator[Inspection | NotInspected]:
    """Read files to their ends and yield their measurements.

    Args:
        inputs: audio files, folders and patterns.
        model: model of the predictions.
        engine: engine of the predictions, as in `Settings.engine`.

    Yields:
        one result per file, in order.

    Raises:
        UsageError: if the model or the engine is unknown.
        EngineError: if the engine is not installed.
    """
    settings = check_settings(Settings(model=model, engine=engine), jobs=1)
    preloaded = start_method_of(settings) == "forkserver"
    try:
        plan = plan_pool(settings, Limits(), jobs=1, tracks=1, preloaded=preloaded)
    except InsufficientMemoryError:
        plan = None
    paths = [local_path(path, "inspect") for path in checked_paths(inputs)]
    found = scan(paths, with_stems=True)
    for problem in found.problems:
        yield NotInspected(
            path=printable(problem.path), error=problem.message, remedy=problem.remedy
        )
    for track in found.tracks:
        try:
            measured = _measure(track.path)
        except StemsplitError as error:
            measured = NotMeasured(message=error.message, remedy=error.remedy)
        if isinstance(measured, NotMeasured):
            yield NotInspected(
                path=printable(track.path), error=measured.message, remedy=measured.remedy
            )
        else:
            yield _inspection(track.path, measured, plan, settings.model)


def _measure(path: Path) -> Measurement | NotMeasured:
    try:
        size = path.stat().st_size
        done = subprocess.run(  # noqa: S603 - our own module with a path
            [*run_module("stemsplit.child.inspect"), Path.absolute(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MIN_TIMEOUT_SECONDS + _TIMEOUT_SECONDS_PER_MEGABYTE * size / 1e6,
            check=False,
        )
        return _decoder.decode(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise StemsplitError(
            f"{quoted(path.name)} could not be read within {error.timeout:.0f} s.",
            "It may be damaged; check it with another program.",
        ) from error
    except OSError as error:
        raise StemsplitError(
            f"{quoted(path.name)} cannot be read ({error.strerror}).", "Check the path."
        ) from error
    except msgspec.DecodeError as error:
        code = done.returncode
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise StemsplitError(
            f"{quoted(path.name)} crashed the decoder ({how}).",
            "The file is damaged; export it again.",
        ) from error


def _inspection(path: Path, found: Measurement, plan: PoolPlan | None, model: str) -> Inspection:
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
