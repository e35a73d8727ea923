"""When memory is sampled, and whether exactly."""

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
class FakeMeter:
    """A simulated machine that records whether each sample was exact."""

    rss: int = 600 * MIB
    pss: int = 400 * MIB
    free: int = 16 * GIB
    reads: list[bool] = field(default_factory=list)

    def sample(self, roots: Sequence[int], *, exact: bool) -> Sample:
        """Return the same usage for the total and for each tree."""
        self.reads.append(exact)
        used = Usage(
            rss_bytes=self.rss,
            pss_bytes=self.pss if exact else None,
            private_bytes=self.pss if exact else None,
        )
        return Sample(total=used, trees=dict.fromkeys(roots, used))

    def host_memory(self) -> HostMemory:
        """Return the memory set by the test."""
        return HostMemory(total_bytes=24 * GIB, available_bytes=self.free)

    def oom_kills(self) -> int | None:
        """Return 0."""
        return 0


def _sampler(meter: FakeMeter, total_cap: int = 8 * GIB) -> MemorySampler:
    return MemorySampler(meter, Timings(), total_cap_bytes=total_cap, low_bytes=GIB)


def test_far_from_every_cap_exact_samples_are_rare() -> None:
    """The first sample is exact, and then one every five seconds."""
    sampler = _sampler(FakeMeter())
    exact = [sampler.sample(now / 2, CAPS).exact for now in range(25)]
    assert exact == [number % 10 == 0 for number in range(25)]
    assert sampler.peak_bytes == 400 * MIB
    assert sampler.seconds_until_due(12.0) == 0.5


def test_growth_is_sampled_exactly() -> None:
    """Large growth of RSS is sampled at once, and small growth when it stops."""
    meter = FakeMeter()
    sampler = _sampler(meter)
    sampler.sample(0.0, CAPS)
    meter.rss, meter.pss = 740 * MIB, 540 * MIB
    assert sampler.sample(0.5, CAPS).exact
    assert sampler.peak_bytes == 540 * MIB
    meter.rss, meter.pss = 780 * MIB, 580 * MIB
    assert not sampler.sample(1.0, CAPS).exact
    assert sampler.sample(1.5, CAPS).exact
    assert sampler.peak_bytes == 580 * MIB
    assert not sampler.sample(2.0, CAPS).exact


def test_samples_are_frequent_near_a_cap() -> None:
    """100 MiB below the cap, samples are 0.1 s apart, and one every three seconds is exact."""
    sampler = _sampler(FakeMeter(pss=400 * MIB, rss=600 * MIB), total_cap=500 * MIB)
    sampler.sample(0.0, CAPS)
    assert 0.05 <= sampler.seconds_until_due(0.0) < 0.11
    assert not sampler.sample(0.1, CAPS).exact
    assert sampler.sample(3.0, CAPS).exact


def test_samples_are_frequent_when_the_machine_runs_low() -> None:
    """The usage of the batch does not matter."""
    sampler = _sampler(FakeMeter(free=GIB + 50 * MIB))
    sampler.sample(0.0, CAPS)
    assert sampler.seconds_until_due(0.0) == 0.05


def test_an_upper_bound_over_a_cap_needs_an_exact_sample() -> None:
    """RSS alone does not show whether the cap is exceeded."""
    meter = FakeMeter()
    sampler = _sampler(meter)
    sampler.sample(0.0, CAPS)
    meter.rss += 10 * MIB
    assert sampler.sample(0.1, {CHILD: 405 * MIB}).exact


def test_a_fresh_exact_sample_is_reused() -> None:
    """Only if it covers the same process trees."""
    meter = FakeMeter()
    sampler = _sampler(meter)
    sampler.sample(0.0, CAPS)
    sampler.fresh_exact(0.1, CAPS)
    assert meter.reads == [True]
    sampler.fresh_exact(0.1, {CHILD + 1: GIB})
    assert meter.reads == [True, True]
