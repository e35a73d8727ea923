"""Runs in the supervisor. What `separate` and `convert` share: inputs, settings and the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemsplit.cli import standard_streams
from stemsplit.cli.display.json_display import JsonDisplay
from stemsplit.cli.display.text_display import TextDisplay
from stemsplit.cli.signals import handle_signals
from stemsplit.core.errors import UsageError
from stemsplit.core.format_rates import LOSSY
from stemsplit.core.settings import BitDepth, Settings
from stemsplit.core.text import quoted, system_message
from stemsplit.core.units import parse_bit_rate, parse_position, parse_sample_rate
from stemsplit.library.input_lists import PathList, read_list

if TYPE_CHECKING:
    from stemsplit.batch.events import Event
    from stemsplit.cli.options import ConvertOptions
    from stemsplit.cli.separate_options import SeparateOptions


_STREAMS = {"stdout": "standard output", "stderr": "standard error"}


def read_inputs(
    inputs: list[str] | None, from_file: str | None, verb: str
) -> tuple[list[str], PathList]:
    """Return the inputs on the command line and those in the list `from_file`.

    Raises:
        UsageError: if there are none, or the list cannot be read.
    """
    listed = _read_list(from_file)
    if not inputs and not listed.paths:
        raise UsageError(f"There is nothing to {verb}.", "Specify audio files, folders or a list.")
    return inputs or [], listed


def read_settings(
    options: SeparateOptions | ConvertOptions, *, default_bit_depth: BitDepth
) -> Settings:
    """Return the settings that `separate` and `convert` share.

    Raises:
        UsageError: if an option is invalid, or a lossy format is combined with a bit depth.
    """
    if options.bit_depth is not None and options.format in LOSSY:
        raise UsageError(
            f"The format {options.format} has no bit depth.",
            "Use --bitrate instead of --bit-depth.",
        )
    start, duration, rate = options.start, options.duration, options.bitrate
    return Settings(
        start_seconds=0.0 if start is None else parse_position(start, "start"),
        duration_seconds=None if duration is None else parse_position(duration, "duration"),
        format=options.format,
        bit_depth=options.bit_depth or default_bit_depth,
        sample_rate=parse_sample_rate(options.sample_rate),
        bit_rate=None if rate is None else parse_bit_rate(rate, "bitrate"),
        clip=options.clip,
        tags=options.tags,
        audio_track=options.audio_track,
        accept_damaged=options.accept_damaged,
    )


def run_batch(
    paths: list[str],
    listed: PathList,
    settings: Settings,
    options: SeparateOptions | ConvertOptions,
    **more: Any,  # noqa: ANN401 - arguments of any type
) -> int:
    """Run a batch with the display that the options select; signals stop it.

    Args:
        paths: the inputs on the command line.
        listed: further inputs.
        settings: of the batch.
        options: of the command.
        more: further arguments of `stemsplit.batch.api.separate`.

    Returns:
        the exit code.
    """
    from stemsplit.batch.api import separate
    from stemsplit.batch.control import Control

    control = Control()

    def show(event: Event) -> None:
        display.show(event)
        if standard_streams.errors and not control.unshown:
            name, error = next(iter(standard_streams.errors.items()))
            control.unshown = f"{_STREAMS[name]} cannot be written ({system_message(error)})"
            print(
                f"stemsplit: {control.unshown}; the batch continues.", file=sys.stderr, flush=True
            )

    chosen: JsonDisplay | TextDisplay = (
        JsonDisplay() if options.json else TextDisplay(quiet=options.quiet, verbose=options.verbose)
    )
    with chosen as display, handle_signals(control, on_drain=display.show_draining):
        result = separate(
            paths,
            options.output,
            settings,
            listed=listed.paths,
            listed_in=listed.base,
            exclude=options.exclude or (),
            limit=options.limit,
            name=options.name,
            jobs=None if options.jobs == "auto" else options.jobs,
            overwrite=options.overwrite,
            retry_failed=options.retry_failed,
            order=options.order,
            dry_run=options.dry_run,
            control=control,
            on_event=show,
            download_progress=display.download_progress(),
            **more,
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
