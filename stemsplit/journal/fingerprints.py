"""Runs in the supervisor. Compares files by fingerprint: size and time of the last change.

A fingerprint is a pair of the size in bytes and the time in nanoseconds since 1970.
"""

from __future__ import annotations

from stemsplit.storage.backends import backend_of

MODIFY_WINDOW_NS = 2 * 10**9
"""Largest difference of two times that count as equal: FAT stores even seconds only, and network
file systems may round a time after it was first read."""

_HOUR_NS = 3600 * 10**9
"""FAT stores local time, so all times shift by this when daylight saving time begins or ends."""


def fingerprint_of(path: bytes) -> tuple[int, int] | None:
    """Return the fingerprint of a file, or None if it does not exist.

    Raises:
        OSError: if the file cannot be checked.
    """
    return backend_of(path).fingerprint(path)


def is_same_file(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two fingerprints are those of the same, unchanged file."""
    return one[0] == other[0] and abs(one[1] - other[1]) <= MODIFY_WINDOW_NS


def is_an_hour_apart(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two fingerprints have the same size and times one hour apart."""
    apart = abs(one[1] - other[1])
    return one[0] == other[0] and abs(apart - _HOUR_NS) <= MODIFY_WINDOW_NS


def is_same_stem(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two fingerprints are those of the same, unchanged stem.

    Times that are an hour apart count as equal, as with `robocopy /DST`, without comparing content.
    At worst this replaces a stem that was edited exactly an hour after it was written and kept its
    size, when the track is to be separated again anyway.
    """
    return is_same_file(one, other) or is_an_hour_apart(one, other)
