"""Fingerprints: comparing files by size and time."""

from __future__ import annotations

import pytest

from stemsplit.journal.fingerprints import MODIFY_WINDOW_NS, is_same_file, is_same_stem
from stemsplit.journal.job_records import Provenance

SECOND = 10**9
HOUR = 3600 * SECOND


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((7, 10 * SECOND), True),
        ((7, 10 * SECOND + MODIFY_WINDOW_NS), True),
        ((7, 10 * SECOND - MODIFY_WINDOW_NS), True),
        ((7, 10 * SECOND + MODIFY_WINDOW_NS + 1), False),
        ((8, 10 * SECOND), False),
    ],
)
def test_rounded_times_are_equal(other: tuple[int, int], *, same: bool) -> None:
    """FAT rounds times to two seconds; sizes must be equal."""
    assert is_same_file((7, 10 * SECOND), other) is same


@pytest.mark.parametrize(
    ("apart", "same"),
    [
        (HOUR, True),
        (-HOUR, True),
        (HOUR + MODIFY_WINDOW_NS, True),
        (-HOUR - MODIFY_WINDOW_NS, True),
        (HOUR + MODIFY_WINDOW_NS + 1, False),
        (HOUR - MODIFY_WINDOW_NS - 1, False),
        (2 * HOUR, False),
        (HOUR // 2, False),
    ],
)
def test_daylight_saving_shifts_times_by_an_hour(apart: int, *, same: bool) -> None:
    """A source must have the same content; for a stem, size and time are enough."""

    def provenance(modified_ns: int, sample: bytes, size: int = 7) -> Provenance:
        return Provenance(
            source_bytes=size, source_modified_ns=modified_ns, settings="a", sample=sample
        )

    original = provenance(10 * HOUR, b"x")
    assert original.has_same_source(provenance(10 * HOUR + apart, b"x")) is same
    for other in (
        provenance(10 * HOUR + apart, b"y"),
        provenance(10 * HOUR + apart, b""),
        provenance(10 * HOUR + apart, b"x", size=8),
    ):
        assert not original.has_same_source(other)
        assert not other.has_same_source(original)
    assert not provenance(0, b"").has_same_source(provenance(apart, b"")), (
        "unknown samples do not count as equal"
    )
    assert is_same_stem((7, 10 * HOUR), (7, 10 * HOUR + apart)) is same
    assert not is_same_stem((7, 10 * HOUR), (8, 10 * HOUR + apart))
