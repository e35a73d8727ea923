"""Recording the maximum of a value over time, with a limited number of steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stemsplit.core.time_series import TimeSeriesRecorder


def test_each_step_has_its_maximum() -> None:
    """Steps without measurements are None."""
    recorder = TimeSeriesRecorder(0.5, 8)
    for position, value in ((0.0, 3), (0.4, 5), (1.6, 2)):
        recorder.add(position, value)
    series = recorder.series()
    assert (series.step, series.values) == (0.5, (5, None, None, 2))


def test_steps_grow_when_there_are_too_many() -> None:
    """Two steps become one."""
    recorder = TimeSeriesRecorder(1.0, 4)
    for second in range(11):
        recorder.add(second, second)
    assert recorder.series().values == (3, 7, 10)
    assert recorder.step == 4.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), min_size=1))
def test_no_peak_is_lost(samples: list[tuple[float, float]]) -> None:
    """Each step has at least the values recorded in it, however often the steps grow."""
    recorder = TimeSeriesRecorder(1.0, 16)
    for position, value in samples:
        recorder.add(position, value)
    series = recorder.series()
    assert len(series.values) <= 16
    for position, value in samples:
        maximum = series.values[int(position / series.step)]
        assert maximum is not None
        assert maximum >= value
    assert max(value for value in series.values if value is not None) == max(v for _, v in samples)
