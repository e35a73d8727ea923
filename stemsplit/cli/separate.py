"""Runs in the supervisor. `stemsplit separate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stemsplit.cli.show import Display, download_display
from stemsplit.job import BitDepth, Settings, StemFormat


def separate(
    inputs: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    model: Annotated[str, Parameter(name=["--model", "-m"])] = "2stems",
    format: StemFormat = "wav",  # noqa: A002 - the option's name
    bit_depth: BitDepth = "24",
    jobs: Annotated[int, Parameter(name=["--jobs", "-j"])] = 1,
    overwrite: bool = False,
    json: bool = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"])] = False,
) -> int:
    """Separate audio files into stems.

    The stems of song.mp3 go to OUTPUT/song/vocals.wav and so on; tracks found in a folder keep
    their place below it. Tracks whose stems are there already are left alone.

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
        How many files to separate at once.
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

    settings = Settings(model=model, format=format, bit_depth=bit_depth)
    with Display.choose(json=json, quiet=quiet, verbose=verbose) as display:
        result = batch.separate(
            inputs,
            output,
            settings,
            jobs=jobs,
            overwrite=overwrite,
            on_event=display.show,
            download_progress=None if json or quiet else download_display(),
        )
    return result.exit_code
