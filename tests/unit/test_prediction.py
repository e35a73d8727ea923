"""Predictions of a child's memory and time."""

from __future__ import annotations

import math

import pytest

from stemsplit.core.limits import Resources
from stemsplit.supervisor.prediction import (
    MEBIBYTE,
    Footprint,
    Forecast,
    Workload,
    corrected_footprint,
    expected_seconds,
    footprint,
)

TWO_STEMS = Workload(kind="tensorflow", stems=2)


def test_footprints_follow_the_table() -> None:
    """More stems need more memory, lean children need less, and spawned children share none."""
    two, five = (
        footprint(Workload(kind="tensorflow", stems=stems), Resources(), preloaded=True)
        for stems in (2, 5)
    )
    lean = footprint(Workload(kind="tensorflow", stems=5), Resources(lean=True), preloaded=True)
    spawned = footprint(TWO_STEMS, Resources(), preloaded=False)
    whole = footprint(
        Workload(kind="whole", stems=2), Resources(), preloaded=True, audio_seconds=100.0
    )
    converted = footprint(Workload(kind="conversion", stems=0), Resources(), preloaded=True)
    assert two.private_bytes < five.private_bytes
    assert lean.private_bytes < 0.7 * five.private_bytes
    assert spawned.shared_bytes == 0
    assert spawned.private_bytes > two.private_bytes
    assert 500 * MEBIBYTE < two.alone_bytes < 650 * MEBIBYTE
    assert whole.private_bytes > two.private_bytes + 1900 * MEBIBYTE
    assert converted.alone_bytes < 300 * MEBIBYTE
    unknown = footprint(TWO_STEMS, Resources(), preloaded=True, audio_seconds=math.inf)
    assert unknown == two, "the length matters only if a track is separated as a whole"


def test_observations_replace_the_table() -> None:
    """After three children, their largest peak plus 10 % counts; the shared memory stays."""
    table = Footprint(shared_bytes=500, private_bytes=400)
    assert corrected_footprint(table, [100, 100]) == table
    assert corrected_footprint(table, [100, 300, 200]) == Footprint(
        shared_bytes=500, private_bytes=330
    )


def test_a_forecast_learns_per_memory_mode_and_threads() -> None:
    """Lean children do not predict others' memory; the time is the 90 % quantile."""
    time_model = TWO_STEMS.time_model(1)
    forecast = Forecast(TWO_STEMS, preloaded=True)
    footprint_before = forecast.footprint(Resources())
    for _ in range(3):
        forecast.learn(Resources(lean=True), private_bytes=1, audio_seconds=600, seconds=300)
    assert forecast.footprint(Resources()) == footprint_before
    assert forecast.footprint(Resources(lean=True)).private_bytes == 1
    assert forecast.seconds(600, Resources()) == pytest.approx(300)
    for _ in range(30):
        forecast.learn(Resources(), private_bytes=None, audio_seconds=600, seconds=20)
    assert forecast.seconds(600, Resources()) == pytest.approx(20), (
        "also if it is shorter than before"
    )
    assert forecast.seconds(1200, Resources()) < 40, "the start does not grow with the track"
    assert expected_seconds(600, time_model, [(600, 1)]) == expected_seconds(600, time_model)
    assert expected_seconds(600, time_model, [(600, 999)]) == pytest.approx(999)
    cap_before = forecast.cap_bytes(Resources())
    for _ in range(3):
        forecast.learn(Resources(), private_bytes=1, audio_seconds=5, seconds=2)
    assert forecast.footprint(Resources()) == footprint_before, "short tracks do not predict memory"
    assert forecast.seconds(5, Resources()) == pytest.approx(2), "but they predict the startup"
    assert forecast.cap_bytes(Resources(lean=True)) == cap_before, "a lean retry has more room"
    assert expected_seconds(0, time_model) > 0
    assert expected_seconds(600, time_model) > expected_seconds(600, TWO_STEMS.time_model(2)) > 0


def test_a_whole_track_is_silent_and_predicts_no_memory() -> None:
    """Silence is not a stall; the memory of a short track does not predict that of a long one."""
    whole = Forecast(Workload(kind="whole", stems=2), preloaded=True)
    assert whole.silent_seconds(600, Resources()) == whole.seconds(600, Resources())
    assert Forecast(TWO_STEMS, preloaded=True).silent_seconds(600, Resources()) == 0
    assert whole.seconds(600, Resources()) > Forecast(TWO_STEMS, preloaded=True).seconds(
        600, Resources()
    )
    for _ in range(3):
        whole.learn(Resources(), private_bytes=1, audio_seconds=60, seconds=30)
    assert whole.footprint(Resources(), 600).private_bytes > 10_000 * MEBIBYTE
