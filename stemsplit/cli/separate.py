"""Runs in the supervisor. `stemsplit separate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stemsplit.cli.show import Display, download_display
from stemsplit.cli.stop import signals_reach
from stemsplit.errors import UsageError
from stemsplit.job import BitDepth, Limits, OnBattery, Order, Settings, StemFormat
from stemsplit.library.naming import DEFAULT_NAME
from stemsplit.text import quoted


def separate(
    inputs: Annotated[list[str] | None, Parameter(negative=())] = None,
    /,
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    from_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    name: str = DEFAULT_NAME,
    model: Annotated[str, Parameter(name=["--model", "-m"])] = "2stems",
    format: StemFormat = "wav",  # noqa: A002 - the option's name
    bit_depth: BitDepth = "24",
    tags: Annotated[bool, Parameter(negative="--no-tags")] = True,
    jobs: Annotated[int | Literal["auto"], Parameter(name=["--jobs", "-j"])] = "auto",
    threads: int | Literal["auto"] = "auto",
    max_ram: str | None = None,
    max_ram_per_file: str | None = None,
    min_free: str | None = None,
    timeout: str | None = None,
    stall_timeout: str = "120s",
    retries: int = 2,
    order: Order = "given",
    until: str | None = None,
    on_battery: OnBattery = "run",
    keep_awake: Annotated[bool, Parameter(negative="--no-keep-awake")] = False,
    nice: int = 0,
    overwrite: bool = False,
    retry_failed: bool = False,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"])] = False,
    json: bool = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"])] = False,
) -> int:
    """Separate audio files into stems.

    The stems of song.mp3 go to OUTPUT/song/vocals.wav and so on; tracks found in a folder keep
    their place below it. The same command, run again, does only what is left. Ctrl-C lets the
    tracks that are being separated finish; Ctrl-C again stops at once.

    Parameters
    ----------
    inputs:
        Audio files, folders to search for them, and patterns such as 'live/**/*.flac'.
    output:
        Folder for the stems; made if need be.
    from_file:
        Read more inputs from a file, or from standard input if it is -; one a line, or ended by
        NUL as `find -print0` gives them.
    name:
        Path of each stem below OUTPUT. Placeholders: relpath, track, stem, ext, model, artist,
        albumartist, album, title, tracknumber, discnumber, year, genre, foldername, source_ext,
        id, and Spleeter's filename, instrument, codec.
    model:
        2stems, 4stems or 5stems, each also as -16kHz; see `stemsplit models list`.
    format:
        Container of the stems.
    bit_depth:
        Bits a sample; 32f is floating point, for wav.
    tags:
        Give the stems the tags and the cover of their source, the title with the stem's name.
    jobs:
        How many files to separate at once; auto weighs processors against memory.
    threads:
        How many threads for each; auto shares the processors.
    max_ram:
        Memory of all processes together, such as 4GiB or 50%; 60% of what is free if not given.
    max_ram_per_file:
        Memory of one file's process; half again what the model is expected to take if not given.
    min_free:
        Memory left free for other programs, such as 1GiB; 10%, at least 512MiB, if not given.
    timeout:
        Longest time for one file: a duration such as 20m, or a multiple of the expected time such
        as 4x; no limit if not given.
    stall_timeout:
        Longest time without progress.
    retries:
        How often to try a file again, for each kind of failure.
    order:
        Which tracks come first; given is the order of the inputs.
    until:
        Time of the day, such as 07:00; nothing is started that is not expected to end by then.
    on_battery:
        What to do while a laptop runs on its battery; pause starts nothing.
    keep_awake:
        Keep the machine from falling asleep meanwhile.
    nice:
        Give way to other programs, from 0 to 19.
    overwrite:
        Separate again what is done, and replace it.
    retry_failed:
        Try again what has failed in an earlier run.
    dry_run:
        Tell what would be done, how long it would take and what it would need; do nothing.
    json:
        Print one JSON object a line for every event.
    quiet:
        Print failures alone.
    verbose:
        Print details and tracebacks as well.
    """
    from stemsplit import batch

    listed = _read_list(from_file)
    if not inputs and not listed:
        raise UsageError("There is nothing to separate.", "Name audio files, folders or a list.")
    settings = Settings(
        model=model,
        format=format,
        bit_depth=bit_depth,
        tags=tags,
        threads=None if threads == "auto" else threads,
    )
    limits = Limits.parse(
        max_ram=max_ram,
        max_ram_per_file=max_ram_per_file,
        min_free=min_free,
        timeout=timeout,
        stall_timeout=stall_timeout,
        retries=retries,
        nice=nice,
    )
    control = batch.Control()
    with (
        Display.choose(json=json, quiet=quiet, verbose=verbose) as display,
        signals_reach(control),
    ):
        result = batch.separate(
            inputs or [],
            output,
            settings,
            listed=listed,
            name=name,
            limits=limits,
            jobs=None if jobs == "auto" else jobs,
            overwrite=overwrite,
            retry_failed=retry_failed,
            order=order,
            until=until,
            on_battery=on_battery,
            keep_awake=keep_awake,
            dry_run=dry_run,
            control=control,
            on_event=display.show,
            download_progress=None if json or quiet else download_display(),
        )
    return result.exit_code


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
