"""Runs in both. The protocol between the supervisor and the process that converts weights."""

from __future__ import annotations

import msgspec

LAYOUT = 2
"""Version of the format of converted weights."""


class Converted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The weights were converted.

    Attributes:
        sha256: checksum of each written file, by its path below the folder.
    """

    sha256: dict[str, str]


class NotConverted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The conversion failed.

    Attributes:
        message: what is wrong, to end a sentence with.
        error_number: `errno` of a failed write; None if the weights are invalid.
    """

    message: str
    error_number: int | None = None
