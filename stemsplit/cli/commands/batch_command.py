"""Runs in the supervisor. What the commands that run a batch have in common."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.cli import standard_streams
from stemsplit.cli.display.event_output import choose_display
from stemsplit.cli.signals import signals_reach
from stemsplit.core.errors import UsageError
from stemsplit.core.formats import LOSSY
from stemsplit.core.settings import Settings
from stemsplit.core.text import quoted, sentence_of
from stemsplit.core.units import parse_bit_rate, parse_position, parse_sample_rate
from stemsplit.library.input_lists import PathList, read_list

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from stemsplit.batch.events import Event
    from stemsplit.batch.result import BatchResult
    from stemsplit.core.settings import BitDepth, Clip, StemFormat


_STREAMS = {"stdout": "standard output", "stderr": "standard error"}


def read_inputs(
    inputs: list[str] | None, from_file: str | None, verb: str
) -> tuple[list[str], PathList]:
    """Give the inputs of a command and those of its list.

    Raises:
        UsageError: if there are none, or the list cannot be read.
    """
    listed = _read_list(from_file)
    if not inputs and not listed.paths:
        raise UsageError(f"There is nothing to {verb}.", "Name audio files, folders or a list.")
    return inputs or [], listed


def written_as(
    *,
    start: str | None,
    duration: str | None,
    format: StemFormat,  # noqa: A002 - the option's name
    bit_depth: BitDepth | None,
    usual_bit_depth: BitDepth,
    sample_rate: str,
    bitrate: str | None,
    clip: Clip | None,
    tags: bool,
    audio_track: str | None,
    accept_damaged: bool,
) -> Settings:
    """Read the options on what is taken of a track and how files are written.

    Raises:
        UsageError: if one of them cannot be, or a lossy format is asked for a bit depth.
    """
    if bit_depth is not None and format in LOSSY:
        raise UsageError(
            f"The format {format} has no bit depth.",
            "Leave --bit-depth out; its own is --bitrate.",
        )
    return Settings(
        start_seconds=0.0 if start is None else parse_position(start, "start"),
        duration_seconds=None if duration is None else parse_position(duration, "duration"),
        format=format,
        bit_depth=bit_depth or usual_bit_depth,
        sample_rate=parse_sample_rate(sample_rate),
        bit_rate=None if bitrate is None else parse_bit_rate(bitrate, "bitrate"),
        clip=clip,
        tags=tags,
        audio_track=audio_track,
        accept_damaged=accept_damaged,
    )


def conduct(
    do: Callable[..., BatchResult],
    *,
    jobs: int | Literal["auto"],
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do a batch, shown as the options ask for, and ended by signals.

    Args:
        do: `stemsplit.batch.api.separate` with all its arguments but those that are given here.
        jobs: how many children at once.
        json: whether to print events as JSON.
        quiet: whether to print failures alone.
        verbose: whether to print details as well.

    Returns:
        the exit code.
    """
    from stemsplit.batch.control import Control

    control = Control()

    def show(event: Event) -> None:
        display.show(event)
        if standard_streams.lost and not control.unshown:
            name, error = next(iter(standard_streams.lost.items()))
            control.unshown = f"{_STREAMS[name]} cannot be written ({sentence_of(error)})"
            print(f"stemsplit: {control.unshown}; the batch goes on.", file=sys.stderr, flush=True)

    with (
        choose_display(json=json, quiet=quiet, verbose=verbose) as display,
        signals_reach(control, display.drains),
    ):
        result = do(
            jobs=None if jobs == "auto" else jobs,
            control=control,
            on_event=show,
            download_progress=display.download_progress(),
        )
    return result.exit_code


def _read_list(name: str | None) -> PathList:
    if name is None:
        return PathList(paths=())
    if name == "-":
        return read_list(sys.stdin.buffer, "standard input")
    try:
        with Path(name).open("rb") as stream:
            return read_list(stream, quoted(name), Path(name))
    except OSError as error:
        raise UsageError(
            f"The list {quoted(name)} cannot be read ({error.strerror}).", "Check the path."
        ) from error
