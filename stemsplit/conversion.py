"""Runs in both. What passes between the supervisor and the process that converts weights."""

from __future__ import annotations

import msgspec

CONVERTED_FOLDER = "onnx"
"""Of the converted weights, below the folder of the published ones."""


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
        error_number: the system's, where it was the system that refused.
    """

    message: str
    error_number: int | None = None
