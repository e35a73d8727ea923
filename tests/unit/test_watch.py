"""How often memory is looked at, and how closely."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stemsplit.supervisor.attempt_state import Timings
from stemsplit.supervisor.budget import HostMemory
from stemsplit.supervisor.memory_sampling import MemorySampler
from stemsplit.supervisor.process_tree import Sample, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 2**20
GIB = 2**30
CHILD = 42
CAPS = {CHILD: 2 * GIB}


@dataclass
class PlainMeter:
    """A machine whose figures a test sets, and which remembers how it was read."""

    rss: int = 600 * MIB
    pss: int = 400 * MIB
    free: int = 16 * GIB
    reads: list[bool] = field(default_factory=list)

    def sample(self, roots: Sequence[int], *, exact: bool) -> Sample:
        """Give one child that is all there is."""
        self.reads.append(exact)
        used = Usage(
            rss_bytes=self.rss,
            pss_bytes=self.pss if exact else None,
            private_bytes=self.pss if exact else None,
        )
        return Sample(total=used, trees=dict.fromkeys(roots, used))

    def host_memory(self) -> HostMemory:
        """Give what is set."""
        return HostMemory(total_bytes=24 * GIB, available_bytes=self.free)

    def oom_kills(self) -> int | None:
        """Count none."""
        return 0


def _watch(meter: PlainMeter, total_cap: int = 8 * GIB) -> MemorySampler:
    return MemorySampler(meter, Timings(), total_cap_bytes=total_cap, low_bytes=GIB)


def test_far_from_every_cap_exact_looks_are_rare() -> None:
    """The first is exact; then cheap ones, and an exact one every five seconds."""
    meter = PlainMeter()
    watch = _watch(meter)
    exact = [watch.look(now / 2, CAPS).exact for now in range(25)]
    assert exact == [number % 10 == 0 for number in range(25)]
    assert watch.peak_bytes == 400 * MIB
    assert watch.seconds_left(12.0) == 0.5


def test_growth_is_looked_at_when_it_comes_to_rest() -> None:
    """RSS that rises may be a new peak: by much at once, by little when it rises no more."""
    meter = PlainMeter()
    watch = _watch(meter)
    watch.look(0.0, CAPS)
    meter.rss, meter.pss = 740 * MIB, 540 * MIB
    assert watch.look(0.5, CAPS).exact
    assert watch.peak_bytes == 540 * MIB
    meter.rss, meter.pss = 780 * MIB, 580 * MIB
    assert not watch.look(1.0, CAPS).exact
    assert watch.look(1.5, CAPS).exact
    assert watch.peak_bytes == 580 * MIB
    assert not watch.look(2.0, CAPS).exact


def test_near_a_cap_looks_come_quickly() -> None:
    """100 MiB below it the next look is a tenth of a second away, and exact every three seconds."""
    meter = PlainMeter(pss=400 * MIB, rss=600 * MIB)
    watch = _watch(meter, total_cap=500 * MIB)
    watch.look(0.0, CAPS)
    assert 0.05 <= watch.seconds_left(0.0) < 0.11
    assert not watch.look(0.1, CAPS).exact
    assert watch.look(3.0, CAPS).exact


def test_a_machine_that_runs_low_is_looked_at_quickly() -> None:
    """However small our own part is."""
    watch = _watch(PlainMeter(free=GIB + 50 * MIB))
    watch.look(0.0, CAPS)
    assert watch.seconds_left(0.0) == 0.05


def test_rss_over_a_cap_is_settled_by_an_exact_look() -> None:
    """A bound that may be over the cap is read exactly, at once."""
    meter = PlainMeter()
    watch = _watch(meter)
    watch.look(0.0, CAPS)
    meter.rss += 10 * MIB
    assert watch.look(0.1, {CHILD: 405 * MIB}).exact


def test_a_fresh_exact_look_is_not_repeated() -> None:
    """Admission asks often; the trees must be the same ones."""
    meter = PlainMeter()
    watch = _watch(meter)
    watch.look(0.0, CAPS)
    watch.last_exact(0.1, CAPS)
    assert meter.reads == [True]
    watch.last_exact(0.1, {CHILD + 1: GIB})
    assert meter.reads == [True, True]
