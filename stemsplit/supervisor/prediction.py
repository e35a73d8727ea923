"""Runs in the supervisor. Predicts the memory and the time of a child. Pure.

The figures are measured on Linux x86-64 with spleeter 2.4.2 and tensorflow 2.12.1, rounded up
(docs/benchmarks.md). Observations of finished children replace them during a batch.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.core.limits import Resources

MEBIBYTE = 2**20

SUPERVISOR_BYTES = 60 * MEBIBYTE
"""Memory of the supervisor, the watchdog and multiprocessing's resource tracker."""

MIN_OBSERVATIONS = 3
"""Finished children that are needed before observations replace the table."""

OBSERVED_MARGIN = 1.1
"""Factor on the largest memory observed."""

CAP_MARGIN = 1.5
"""A child's default cap as a multiple of its predicted memory."""


Kind = Literal["tensorflow", "onnx", "whole", "conversion"]
"""What a child does: separate in segments with one of the engines; separate a track as a whole, in
memory that grows with its length; or only convert. Third-party engines count as `tensorflow`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Memory in MiB and time in seconds of a child, measured by `benchmarks/footprint.py`.

    Attributes:
        shared: memory of a fork server that has loaded the libraries.
        libraries: private memory of a child that loads the libraries itself.
        base, stem, thread: private memory of any child, per stem of the model, per thread.
        second, second_and_stem: private memory per second of a track, and per second and stem.
        start: time to load everything.
        rate, rate_and_stem: time per second of a track, and per second and stem with one thread.
    """

    shared: float
    libraries: float
    base: float
    stem: float = 0.0
    thread: float = 0.0
    second: float = 0.0
    second_and_stem: float = 0.0
    start: float
    rate: float = 0.0
    rate_and_stem: float = 0.0


_TABLE: dict[Kind, _Row] = {
    "tensorflow": _Row(
        shared=210, libraries=175, base=195, stem=58, thread=13, start=3.0, rate_and_stem=0.021
    ),
    "onnx": _Row(
        shared=0, libraries=60, base=105, stem=54, thread=14, start=1.5, rate_and_stem=0.021
    ),
    # In TensorFlow's Python package; four times the time that it needs in segments.
    "whole": _Row(
        shared=480,
        libraries=410,
        base=170,
        stem=95,
        thread=6,
        second=12.0,
        second_and_stem=4.6,
        start=8.0,
        rate_and_stem=0.14,
    ),
    "conversion": _Row(shared=90, libraries=90, base=90, start=1.5, rate=0.02),
}

_LEAN_TABLE = _TABLE | {
    "tensorflow": replace(_TABLE["tensorflow"], base=215, stem=20),
    "onnx": replace(_TABLE["onnx"], base=110, stem=20, thread=6),
}
"""With only one instrument's U-Net in memory at a time."""

_MAX_OBSERVATIONS = 50
"""Only the most recent observations count."""

_LONG_SECONDS = 30.0
"""A shorter track may end before its memory peaks, and startup dominates its time."""

_QUANTILE = 0.9
"""Share of the observed children that finish within the predicted time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of children with the same workload and resources, in bytes.

    Attributes:
        shared_bytes: memory that the fork server shares with its children, counted once; 0 if each
            child loads the libraries itself.
        private_bytes: memory that each child adds.
    """

    shared_bytes: int
    private_bytes: int

    @property
    def alone_bytes(self) -> int:
        """Memory of all processes of a batch with one child."""
        return SUPERVISOR_BYTES + self.shared_bytes + self.private_bytes

    @property
    def child_bytes(self) -> int:
        """PSS of a child that shares memory with the fork server but with no other child."""
        return self.private_bytes + self.shared_bytes // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What determines the memory and the time of a child, besides the track and its resources.

    Attributes:
        kind: what the child does.
        stems: stems of the model; 0 if nothing is separated.
    """

    kind: Kind
    stems: int

    @property
    def is_whole(self) -> bool:
        """Whether memory grows with the length of a track, and the child reports no progress."""
        return self.kind == "whole"

    def time_model(self, threads: int) -> TimeModel:
        """Return the time of a child by the table."""
        row = _TABLE[self.kind]
        return TimeModel(
            start_seconds=row.start,
            seconds_per_audio_second=row.rate + row.rate_and_stem * self.stems / threads,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeModel:
    """Time of a child: for its startup, and per second of audio."""

    start_seconds: float
    seconds_per_audio_second: float


def footprint(
    workload: Workload, resources: Resources, *, preloaded: bool, audio_seconds: float = 0.0
) -> Footprint:
    """Predict the memory of a child by the table. Third-party engines need no more than TensorFlow.

    Args:
        workload: what the child does.
        resources: resources of the child.
        preloaded: whether a fork server shares the libraries with it.
        audio_seconds: length of the track; matters only to a track separated as a whole.
    """
    row = (_LEAN_TABLE if resources.lean else _TABLE)[workload.kind]
    private = row.base + row.stem * workload.stems + row.thread * resources.threads
    if workload.is_whole:  # not otherwise, because an unknown length is infinite
        private += (row.second + row.second_and_stem * workload.stems) * audio_seconds
    shared = row.shared if preloaded else 0.0
    private += 0.0 if preloaded else row.libraries
    return Footprint(
        shared_bytes=round(shared * MEBIBYTE), private_bytes=math.ceil(private) * MEBIBYTE
    )


def corrected_footprint(predicted: Footprint, observed_private_bytes: Sequence[int]) -> Footprint:
    """Replace the table's figure by the observed maximum, once there are enough observations.

    Args:
        predicted: footprint by the table.
        observed_private_bytes: peak private memory of finished children with the same workload.
    """
    if len(observed_private_bytes) < MIN_OBSERVATIONS:
        return predicted
    private = round(max(observed_private_bytes) * OBSERVED_MARGIN)
    return Footprint(shared_bytes=predicted.shared_bytes, private_bytes=private)


def expected_seconds(
    audio_seconds: float, time_model: TimeModel, observed: Sequence[tuple[float, float]] = ()
) -> float:
    """Predict the time of a child from its start to its exit.

    Args:
        audio_seconds: length of the track.
        time_model: time by the table.
        observed: pairs of audio seconds and seconds of finished children. The 90 % quantile of
            observed to predicted time of long tracks scales the table's figures; with fewer than
            `MIN_OBSERVATIONS` it only raises them, as another program or a slow machine may. Short
            tracks determine the time of the startup.
    """
    start, rate = time_model.start_seconds, time_model.seconds_per_audio_second
    ratios = [seconds / (start + rate * audio) for audio, seconds in observed if _is_long(audio)]
    if ratios:
        ratio = _quantile(ratios)
        ratio = max(1.0, ratio) if len(ratios) < MIN_OBSERVATIONS else ratio
        start, rate = start * ratio, rate * ratio
    starts = [seconds - rate * audio for audio, seconds in observed if not _is_long(audio)]
    if len(starts) >= MIN_OBSERVATIONS:
        start = max(0.0, _quantile(starts))
    return start + rate * audio_seconds


def _quantile(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(_QUANTILE * len(values)) - 1]


def _is_long(audio_seconds: float) -> bool:
    return audio_seconds >= _LONG_SECONDS


@dataclass(slots=True)
class Forecast:
    """Predictions for one batch, corrected by its finished children.

    Attributes:
        workload: what the children do.
        preloaded: whether a fork server shares the libraries with them.
    """

    workload: Workload
    preloaded: bool
    _memory: dict[bool, deque[int]] = field(default_factory=dict)
    _time: dict[int, deque[tuple[float, float]]] = field(default_factory=dict)

    def footprint(self, resources: Resources, audio_seconds: float = 0.0) -> Footprint:
        """Predict the memory of a child; `audio_seconds` matters only if tracks stay whole."""
        predicted = self._by_table(resources, audio_seconds)
        return corrected_footprint(predicted, self._memory.get(resources.lean, ()))

    def _by_table(self, resources: Resources, audio_seconds: float) -> Footprint:
        return footprint(
            self.workload, resources, preloaded=self.preloaded, audio_seconds=audio_seconds
        )

    def cap_bytes(self, resources: Resources, audio_seconds: float = 0.0) -> int:
        """Return the default cap of a child, which is the same for a lean one."""
        table = self._by_table(msgspec.structs.replace(resources, lean=False), audio_seconds)
        expected = max(table.child_bytes, self.footprint(resources, audio_seconds).child_bytes)
        return round(CAP_MARGIN * expected)

    def seconds(self, audio_seconds: float, resources: Resources) -> float:
        """Predict the time of a child."""
        time_model = self.workload.time_model(resources.threads)
        return expected_seconds(audio_seconds, time_model, self._time.get(resources.threads, ()))

    def silent_seconds(self, audio_seconds: float, resources: Resources) -> float:
        """Predict how long a child reports no progress: all its time for a whole track, else 0."""
        return self.seconds(audio_seconds, resources) if self.workload.is_whole else 0.0

    def learn(
        self,
        resources: Resources,
        *,
        private_bytes: int | None,
        audio_seconds: float,
        seconds: float,
    ) -> None:
        """Record a finished child; `private_bytes` is its peak, None if unknown."""
        # The memory of one whole track does not predict that of a longer one.
        predicts_memory = _is_long(audio_seconds) and not self.workload.is_whole
        if private_bytes is not None and predicts_memory:
            observed = self._memory.setdefault(resources.lean, deque(maxlen=_MAX_OBSERVATIONS))
            observed.append(private_bytes)
        times = self._time.setdefault(resources.threads, deque(maxlen=_MAX_OBSERVATIONS))
        times.append((audio_seconds, seconds))
