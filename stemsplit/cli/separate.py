"""Runs in the supervisor. `stemsplit separate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from stemsplit.cli.show import Display, download_display
from stemsplit.cli.stop import signals_reach
from stemsplit.job import BitDepth, Limits, Settings, StemFormat


def separate(
    inputs: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    model: Annotated[str, Parameter(name=["--model", "-m"])] = "2stems",
    format: StemFormat = "wav",  # noqa: A002 - the option's name
    bit_depth: BitDepth = "24",
    jobs: Annotated[int | Literal["auto"], Parameter(name=["--jobs", "-j"])] = "auto",
    threads: int | Literal["auto"] = "auto",
    max_ram: str | None = None,
    max_ram_per_file: str | None = None,
    min_free: str | None = None,
    timeout: str | None = None,
    stall_timeout: str = "120s",
    retries: int = 2,
    overwrite: bool = False,
    json: bool = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"])] = False,
) -> int:
    """Separate audio files into stems.

    The stems of song.mp3 go to OUTPUT/song/vocals.wav and so on; tracks found in a folder keep
    their place below it. Tracks whose stems are there already are left alone. Ctrl-C lets the
    tracks that are being separated finish; Ctrl-C again stops at once.

    Parameters
    ----------
    inputs:
        Audio files, and folders to search for them.
    output:
        Folder for the stems; made if need be.
    model:
        2stems, 4stems or 5stems, each also as -16kHz; see `stemsplit models list`.
    format:
        Container of the stems.
    bit_depth:
        Bits a sample; 32f is floating point, for wav.
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
    overwrite:
        Separate again what is there, and replace it.
    json:
        Print one JSON object a line for every event.
    quiet:
        Print failures alone.
    verbose:
        Print details and tracebacks as well.
    """
    from stemsplit import batch

    settings = Settings(
        model=model,
        format=format,
        bit_depth=bit_depth,
        threads=None if threads == "auto" else threads,
    )
    limits = Limits.parse(
        max_ram=max_ram,
        max_ram_per_file=max_ram_per_file,
        min_free=min_free,
        timeout=timeout,
        stall_timeout=stall_timeout,
        retries=retries,
    )
    control = batch.Control()
    with (
        Display.choose(json=json, quiet=quiet, verbose=verbose) as display,
        signals_reach(control),
    ):
        result = batch.separate(
            inputs,
            output,
            settings,
            limits=limits,
            jobs=None if jobs == "auto" else jobs,
            overwrite=overwrite,
            control=control,
            on_event=display.show,
            download_progress=None if json or quiet else download_display(),
        )
    return result.exit_code
