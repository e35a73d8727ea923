"""Runs in the supervisor. `stemsplit convert`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec

from stemsplit.cli.commands.batch_command import conduct, read_inputs, written_as
from stemsplit.cli.options import (
    AGAIN,
    SHOWN,
    AcceptDamaged,
    AudioTrack,
    BitRate,
    Bits,
    Clipping,
    DryRun,
    Duration,
    Exclude,
    Format,
    FromFile,
    Inputs,
    Jobs,
    Limit,
    Name,
    OrderOfWork,
    Output,
    Quiet,
    SampleRate,
    Start,
    Tags,
    Verbose,
)
from stemsplit.library.naming import DEFAULT_NAME_CONVERTED


def convert(
    inputs: Inputs = None,
    /,
    *,
    output: Output,
    from_file: FromFile = None,
    exclude: Exclude = None,
    limit: Limit = None,
    name: Name = DEFAULT_NAME_CONVERTED,
    format: Format = "wav",  # noqa: A002 - the option's name
    bit_depth: Bits = None,
    sample_rate: SampleRate = "source",
    bitrate: BitRate = None,
    clip: Clipping = None,
    tags: Tags = True,
    start: Start = None,
    duration: Duration = None,
    audio_track: AudioTrack = None,
    jobs: Jobs = "auto",
    order: OrderOfWork = "given",
    overwrite: Annotated[bool, AGAIN] = False,
    retry_failed: Annotated[bool, AGAIN] = False,
    accept_damaged: AcceptDamaged = False,
    dry_run: DryRun = False,
    json: Annotated[bool, SHOWN] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Convert sample rate, bit depth and format; nothing is separated.

    song.mp3 becomes OUTPUT/song.wav; files found in a folder keep their place below it. All
    channels are kept, but for lossy formats, which get two. The same command, run again, does only
    what is left.

    Parameters
    ----------
    inputs:
        Audio files, folders to search for them, patterns such as 'live/**/*.flac', and addresses
        (s3://, sftp://).
    output:
        Folder or address for the converted files; made if need be.
    from_file:
        Read more inputs from a file or a playlist. - is standard input.
    exclude:
        Leave out what matches: a name at any depth, such as Podcasts or '*.m4b', or a path below
        the input, such as 'live/**/demo*'. May be repeated.
    limit:
        Convert at most this many files in this run. The same command goes on with the rest.
    name:
        Path of each file below the folder. Placeholders as for `stemsplit separate`, but for stem.
    start:
        Where in each file to begin, such as 90s or 1:30.
    duration:
        How much of each file to take, such as 30s.
    audio_track:
        Which audio track of a film to take: its number, from 1, or a language such as en or deu.
        The default track if not given.
    format:
        wav, flac, mp3, ogg, opus or m4a.
    bit_depth:
        16, 24 or 32f, or as in the source. For wav and flac, as in the source if not given. What
        is brought down to 16 bits is dithered, unless it uses no more anyway.
    sample_rate:
        Such as 48000 or 44.1k, or source.
    bitrate:
        Of mp3 (320k if not given), ogg (256k), m4a (256k) and opus (192k).
    clip:
        What becomes of samples beyond full scale: they are cut to it, the whole file is made
        quieter, or they are kept. Cut if not given, kept with 32f.
    tags:
        Give the files the tags and the cover of their source.
    jobs:
        How many files to convert at once.
    order:
        Which files come first; given is the order of the inputs.
    overwrite:
        Convert again what is done, and replace it.
    retry_failed:
        Try again what has failed in an earlier run.
    accept_damaged:
        Write what is there of a damaged file, with a warning, instead of failing when more than 5 %
        of it is lost. Also tries again what has failed as damaged in an earlier run.
    dry_run:
        Tell what would be done; do nothing.
    json:
        Print one JSON object a line for every event.
    quiet:
        Print failures alone.
    verbose:
        Print details and tracebacks as well.
    """
    from stemsplit.batch import api

    inputs, listed = read_inputs(inputs, from_file, "convert")
    settings = written_as(
        start=start,
        duration=duration,
        format=format,
        bit_depth=bit_depth,
        usual_bit_depth="source",
        sample_rate=sample_rate,
        bitrate=bitrate,
        clip=clip,
        tags=tags,
        audio_track=audio_track,
        accept_damaged=accept_damaged,
    )
    do = partial(
        api.separate,
        inputs,
        output,
        msgspec.structs.replace(settings, what="conversion"),
        listed=listed.paths,
        listed_in=listed.base,
        exclude=exclude or (),
        limit=limit,
        name=name,
        overwrite=overwrite,
        retry_failed=retry_failed,
        order=order,
        dry_run=dry_run,
    )
    return conduct(do, jobs=jobs, json=json, quiet=quiet, verbose=verbose)
