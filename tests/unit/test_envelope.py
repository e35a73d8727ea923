"""The largest values of something long, in a bounded room."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stemsplit.core.time_series import TimeSeriesRecorder


def test_largest_values_of_each_step() -> None:
    """Steps that nothing was measured in are empty."""
    envelope = TimeSeriesRecorder(0.5, 8)
    for position, value in ((0.0, 3), (0.4, 5), (1.6, 2)):
        envelope.add(position, value)
    curve = envelope.curve()
    assert (curve.step, curve.values) == (0.5, (5, None, None, 2))


def test_steps_grow_when_there_are_too_many() -> None:
    """Two become one; nothing is empty on both sides of a value."""
    envelope = TimeSeriesRecorder(1.0, 4)
    for second in range(11):
        envelope.add(second, second)
    assert envelope.curve().values == (3, 7, 10)
    assert envelope.step == 4.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), min_size=1))
def test_no_peak_is_lost(samples: list[tuple[float, float]]) -> None:
    """However the steps grow, each value is in the step that it belongs to, or a larger one."""
    envelope = TimeSeriesRecorder(1.0, 16)
    for position, value in samples:
        envelope.add(position, value)
    curve = envelope.curve()
    assert len(curve.values) <= 16
    for position, value in samples:
        kept = curve.values[int(position / curve.step)]
        assert kept is not None
        assert kept >= value
    assert max(value for value in curve.values if value is not None) == max(v for _, v in samples)
