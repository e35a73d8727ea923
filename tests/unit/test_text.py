"""Text for the terminal."""

from __future__ import annotations

import pytest

from stemsplit.core.text import clock_time, mebibytes, printable


@pytest.mark.parametrize(
    ("raw", "escaped"),
    [
        ("plain.wav", "plain.wav"),
        ("naïve \N{MUSICAL SYMBOL G CLEF}.wav", "naïve \N{MUSICAL SYMBOL G CLEF}.wav"),
        ("evil\x1b[2J\n.wav", "evil\\x1b[2J\\n.wav"),
        (b"latin-1 \xe9.wav", "latin-1 \\xe9.wav"),
        ("latin-1 \udce9.wav", "latin-1 \\xe9.wav"),
    ],
)
def test_names_cannot_control_the_terminal(raw: str | bytes, escaped: str) -> None:
    """Control characters and bytes that are not UTF-8 are escaped; other characters stay."""
    assert printable(raw) == escaped
    escaped.encode()


def test_durations_and_sizes() -> None:
    """Hours are shown only if needed; thousands of MiB are separated."""
    assert [clock_time(seconds) for seconds in (0, 59.6, 219, 3725)] == [
        "0:00",
        "1:00",
        "3:39",
        "1:02:05",
    ]
    assert mebibytes(2**30) == "1,024 MiB"
