"""Runs in the supervisor. What commands that work on audio files have in common."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.errors import UsageError
from stemsplit.job import LOSSY_FORMATS
from stemsplit.text import quoted

if TYPE_CHECKING:
    from stemsplit.job import BitDepth, StemFormat


def read_inputs(
    inputs: list[str] | None, from_file: str | None, verb: str
) -> tuple[list[str], list[Path]]:
    """Give the inputs of a command and those of its list.

    Raises:
        UsageError: if there are none, or the list cannot be read.
    """
    listed = _read_list(from_file)
    if not inputs and not listed:
        raise UsageError(f"There is nothing to {verb}.", "Name audio files, folders or a list.")
    return inputs or [], listed


def refuse_bit_depth(stem_format: StemFormat, bit_depth: BitDepth | None) -> None:
    """Refuse a bit depth for a format that has none.

    Raises:
        UsageError: if one is asked for.
    """
    if bit_depth is not None and stem_format in LOSSY_FORMATS:
        raise UsageError(
            f"The format {stem_format} has no bit depth.",
            "Leave --bit-depth out; its own is --bitrate.",
        )


def _read_list(name: str | None) -> list[Path]:
    from stemsplit.library.lists import read_list

    if name is None:
        return []
    if name == "-":
        return read_list(sys.stdin.buffer, "standard input")
    try:
        with Path(name).open("rb") as stream:
            return read_list(stream, quoted(name))
    except OSError as error:
        raise UsageError(
            f"The list {quoted(name)} cannot be read ({error.strerror}).", "Check the path."
        ) from error
