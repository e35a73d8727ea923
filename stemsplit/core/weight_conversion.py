"""Runs in both. What the supervisor and the process that converts weights agree on."""

from __future__ import annotations

import msgspec

LAYOUT = 2
"""Version of the form of converted weights (`stemsplit.child.engines.weights.converted_file`)."""


class Converted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The weights were converted.

    Attributes:
        sha256: of each file that was written, by its path below the folder.
    """

    sha256: dict[str, str]


class NotConverted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """They were not.

    Attributes:
        message: what is wrong, for the end of a sentence.
        error_number: the system's, where it refused to write; None where the weights are at fault.
    """

    message: str
    error_number: int | None = None
