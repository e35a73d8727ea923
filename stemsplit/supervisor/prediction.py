"""Runs in the supervisor. How much memory and time a child will take. Pure.

The figures are measured on Linux x86-64 with spleeter 2.4.2 and tensorflow 2.12.1, rounded up
(docs/benchmarks.md). What the batch itself observes takes their place.
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
"""The supervisor, the warden and multiprocessing's resource tracker."""

ENOUGH_OBSERVATIONS = 3
"""So many finished children of one kind are believed rather than the table."""

OBSERVED_MARGIN = 1.1
"""On top of the largest memory observed."""

CAP_MARGIN = 1.5
"""A child's default cap is this multiple of what it is expected to take."""


Kind = Literal["tensorflow", "onnx", "whole", "conversion"]
"""What a child does: separate by segments, with one engine or the other; separate a track as a
whole, in memory that grows with its length; or only convert. Engines of somebody else's are taken
for TensorFlow's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What a child takes, from the table of `python benchmarks/footprint.py`.

    Attributes:
        shared: MiB that a fork server holds which has loaded the libraries.
        libraries: MiB that a child has of its own when it loads them for itself.
        base, stem, thread: MiB of a child's own: in any case, for each stem of the model, for each
            thread.
        second, second_a_stem: MiB for each second of a track, and likewise for each stem.
        start: seconds to load everything.
        rate, rate_a_stem: seconds for each second of a track, and likewise for each stem with one
            thread.
    """

    shared: float
    libraries: float
    base: float
    stem: float = 0.0
    thread: float = 0.0
    second: float = 0.0
    second_a_stem: float = 0.0
    start: float
    rate: float = 0.0
    rate_a_stem: float = 0.0


_TABLE: dict[Kind, _Row] = {
    "tensorflow": _Row(
        shared=210, libraries=175, base=195, stem=58, thread=13, start=3.0, rate_a_stem=0.021
    ),
    "onnx": _Row(
        shared=0, libraries=60, base=105, stem=54, thread=14, start=1.5, rate_a_stem=0.021
    ),
    # In TensorFlow's Python package, and four times as long as that takes by segments.
    "whole": _Row(
        shared=480,
        libraries=410,
        base=170,
        stem=95,
        thread=6,
        second=12.0,
        second_a_stem=4.6,
        start=8.0,
        rate_a_stem=0.14,
    ),
    "conversion": _Row(shared=90, libraries=90, base=90, start=1.5, rate=0.02),
}

_LEAN_TABLE = _TABLE | {
    "tensorflow": replace(_TABLE["tensorflow"], base=215, stem=20),
    "onnx": replace(_TABLE["onnx"], base=110, stem=20, thread=6),
}
"""With one instrument's U-Net in memory at a time."""

_REMEMBERED = 50
"""So many of the last children are remembered."""

_TELLING_SECONDS = 30.0
"""A shorter track may end before its peak, and most of its time is the start."""

_NEARLY_ALL = 0.9
"""Of the children observed are to end within what is predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of children of one kind, in bytes.

    Attributes:
        shared_bytes: what the fork server holds and its children share; counted once. 0 where each
            child loads the libraries for itself.
        private_bytes: what each child adds.
    """

    shared_bytes: int
    private_bytes: int

    @property
    def alone_bytes(self) -> int:
        """All that a batch with one child takes."""
        return SUPERVISOR_BYTES + self.shared_bytes + self.private_bytes

    @property
    def child_bytes(self) -> int:
        """A child's own PSS, where the fork server and no other child shares with it."""
        return self.private_bytes + self.shared_bytes // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the memory and the time of a child depend on, beside the track and its effort.

    Attributes:
        kind: what it does.
        stems: of the model; 0 where nothing is separated.
    """

    kind: Kind
    stems: int

    @property
    def is_whole(self) -> bool:
        """Whether memory grows with the length of a track, and nothing is told of its progress."""
        return self.kind == "whole"

    def pace(self, threads: int) -> Throughput:
        """Give the time that the table tells."""
        row = _TABLE[self.kind]
        return Throughput(
            start_seconds=row.start,
            seconds_a_second=row.rate + row.rate_a_stem * self.stems / threads,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """A child's time: to get started, and for each second of audio."""

    start_seconds: float
    seconds_a_second: float


def footprint(
    way: Workload, resources: Resources, *, preloaded: bool, audio_seconds: float = 0.0
) -> Footprint:
    """Predict the memory of a child; engines of somebody else's take no more than TensorFlow.

    Args:
        way: what it does.
        resources: how the child goes about it.
        preloaded: whether a fork server shares the libraries with it.
        audio_seconds: of the track; matters where it is separated as a whole.
    """
    row = (_LEAN_TABLE if resources.lean else _TABLE)[way.kind]
    private = row.base + row.stem * way.stems + row.thread * resources.threads
    if way.is_whole:  # only then: a length that is not known is infinite
        private += (row.second + row.second_a_stem * way.stems) * audio_seconds
    shared = row.shared if preloaded else 0.0
    private += 0.0 if preloaded else row.libraries
    return Footprint(
        shared_bytes=round(shared * MEBIBYTE), private_bytes=math.ceil(private) * MEBIBYTE
    )


def corrected(predicted: Footprint, observed_private_bytes: Sequence[int]) -> Footprint:
    """Put what finished children of the same kind took in the place of the table's figure.

    Args:
        predicted: by the table.
        observed_private_bytes: the peak of each finished child, without what it shared.
    """
    if len(observed_private_bytes) < ENOUGH_OBSERVATIONS:
        return predicted
    private = round(max(observed_private_bytes) * OBSERVED_MARGIN)
    return Footprint(shared_bytes=predicted.shared_bytes, private_bytes=private)


def expected_seconds(
    audio_seconds: float, pace: Throughput, observed: Sequence[tuple[float, float]] = ()
) -> float:
    """Predict the time of one child, from its start to its end.

    Args:
        audio_seconds: of the track.
        pace: what the table tells.
        observed: pairs of audio seconds and seconds of finished children. How much longer or
            shorter than by the table nine of ten long tracks took at the most scales its figure;
            fewer than `ENOUGH_OBSERVATIONS` only raise it, as another program or a slow machine
            may. Short tracks tell how long the start takes.
    """
    start, rate = pace.start_seconds, pace.seconds_a_second
    long = [seconds / (start + rate * audio) for audio, seconds in observed if _tells(audio)]
    if long:
        ratio = _nearly_all(long)
        ratio = max(1.0, ratio) if len(long) < ENOUGH_OBSERVATIONS else ratio
        start, rate = start * ratio, rate * ratio
    short = [seconds - rate * audio for audio, seconds in observed if not _tells(audio)]
    if len(short) >= ENOUGH_OBSERVATIONS:
        start = max(0.0, _nearly_all(short))
    return start + rate * audio_seconds


def _nearly_all(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(_NEARLY_ALL * len(values)) - 1]


def _tells(audio_seconds: float) -> bool:
    return audio_seconds >= _TELLING_SECONDS


@dataclass(slots=True)
class Forecast:
    """Predicts for one batch, and learns from its finished children.

    Attributes:
        way: what the children do.
        preloaded: whether a fork server shares the libraries.
    """

    way: Workload
    preloaded: bool
    _memory: dict[bool, deque[int]] = field(default_factory=dict)
    _time: dict[int, deque[tuple[float, float]]] = field(default_factory=dict)

    def footprint(self, resources: Resources, audio_seconds: float = 0.0) -> Footprint:
        """Predict the memory of a child; the length matters where a track is taken as a whole."""
        predicted = self._table(resources, audio_seconds)
        return corrected(predicted, self._memory.get(resources.lean, ()))

    def _table(self, resources: Resources, audio_seconds: float) -> Footprint:
        return footprint(self.way, resources, preloaded=self.preloaded, audio_seconds=audio_seconds)

    def cap_bytes(self, resources: Resources, audio_seconds: float = 0.0) -> int:
        """Give the default cap of a child: with room for whatever an effort may take."""
        table = self._table(msgspec.structs.replace(resources, lean=False), audio_seconds)
        expected = max(table.child_bytes, self.footprint(resources, audio_seconds).child_bytes)
        return round(CAP_MARGIN * expected)

    def seconds(self, audio_seconds: float, resources: Resources) -> float:
        """Predict the time of a child."""
        observed = self._time.get(resources.threads, ())
        return expected_seconds(audio_seconds, self.way.pace(resources.threads), observed)

    def silent_seconds(self, audio_seconds: float, resources: Resources) -> float:
        """Predict how long a child has no progress to tell, as one that takes a track whole."""
        return self.seconds(audio_seconds, resources) if self.way.is_whole else 0.0

    def learn(
        self,
        resources: Resources,
        *,
        private_bytes: int | None,
        audio_seconds: float,
        seconds: float,
    ) -> None:
        """Take note of a child that finished; `private_bytes` is its largest, None if unknown."""
        # What a whole track took says nothing of a longer one.
        tells = _tells(audio_seconds) and not self.way.is_whole
        if private_bytes is not None and tells:
            self._memory.setdefault(resources.lean, deque(maxlen=_REMEMBERED)).append(private_bytes)
        times = self._time.setdefault(resources.threads, deque(maxlen=_REMEMBERED))
        times.append((audio_seconds, seconds))
