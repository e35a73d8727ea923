"""Runs in the supervisor. `stemsplit separate`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from stemsplit.cli.commands.batch_command import conduct, read_inputs, written_as
from stemsplit.cli.options import (
    AGAIN,
    CLUSTER,
    ENGINE,
    MODEL,
    NIGHT,
    PATH_MAP,
    SHOWN,
    SOUND,
    SPEED,
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
    value,
)
from stemsplit.core.limits import Limits, OnBattery
from stemsplit.core.settings import AUTOMATIC, HighBand
from stemsplit.library.naming import DEFAULT_NAME
from stemsplit.models.engines import named


def separate(
    inputs: Inputs = None,
    /,
    *,
    output: Output,
    from_file: FromFile = None,
    exclude: Exclude = None,
    limit: Limit = None,
    name: Name = DEFAULT_NAME,
    model: Annotated[str, SOUND, MODEL] = "2stems",
    stems: Annotated[str | None, SOUND, value("NAMES")] = None,
    residual: Annotated[bool, SOUND] = False,
    format: Format = "wav",  # noqa: A002 - the option's name
    bit_depth: Bits = None,
    sample_rate: SampleRate = "44100",
    bitrate: BitRate = None,
    clip: Clipping = None,
    tags: Tags = True,
    start: Start = None,
    duration: Duration = None,
    audio_track: AudioTrack = None,
    high_band: Annotated[HighBand, SOUND, value("WAY")] = "zeros",
    mwf: Annotated[bool, SOUND] = False,
    jobs: Jobs = "auto",
    threads: Annotated[int | Literal["auto"], SPEED, value("N", show_choices=False)] = "auto",
    engine: Annotated[str, SPEED, ENGINE] = AUTOMATIC,
    max_ram: Annotated[str | None, SPEED, value("SIZE")] = None,
    max_ram_per_file: Annotated[str | None, SPEED, value("SIZE")] = None,
    min_free: Annotated[str | None, SPEED, value("SIZE")] = None,
    nice: Annotated[int, SPEED, value("N")] = 0,
    timeout: Annotated[str | None, NIGHT, value("TIME")] = None,
    stall_timeout: Annotated[str, NIGHT, value("TIME")] = "120s",
    retries: Annotated[int, NIGHT, value("N")] = 2,
    order: OrderOfWork = "given",
    until: Annotated[str | None, NIGHT, value("HH:MM")] = None,
    on_battery: Annotated[OnBattery, NIGHT, value("WAY")] = "run",
    keep_awake: Annotated[bool, NIGHT, Parameter(negative="--no-keep-awake")] = False,
    cluster: Annotated[str | None, CLUSTER, value("ADDRESS")] = None,
    path_map: Annotated[list[str] | None, CLUSTER, PATH_MAP] = None,
    overwrite: Annotated[bool, AGAIN] = False,
    retry_failed: Annotated[bool, AGAIN] = False,
    accept_damaged: AcceptDamaged = False,
    dry_run: DryRun = False,
    json: Annotated[bool, SHOWN] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Separate audio files into stems.

    The stems of song.mp3 go to FOLDER/song/vocals.wav and so on; tracks found in a folder keep
    their place below it. The same command, run again, does only what is left. Ctrl-C finishes the
    tracks at hand; Ctrl-C again stops at once.

    Parameters
    ----------
    inputs:
        Audio files, folders to search for them, patterns such as 'live/**/*.flac', and addresses
        (s3://, sftp://).
    output:
        Folder or address for the stems; made if need be.
    from_file:
        Read more inputs from a file or a playlist. - is standard input; one a line, or ended by
        NUL as `find -print0` gives them.
    exclude:
        Leave out what matches: a name at any depth, such as Podcasts or '*.m4b', or a path below
        the input, such as 'live/**/demo*'. May be repeated.
    limit:
        Separate at most this many tracks in this run. The same command goes on with the rest.
    name:
        Path of each stem below the folder. Placeholders: relpath, track, stem, ext, model, artist,
        albumartist, album, title, tracknumber, discnumber, year, genre, foldername, source_ext,
        id, and Spleeter's filename, instrument, codec.
    model:
        2stems, 4stems or 5stems, or 2stems-16kHz and so on. See `stemsplit models list`.
    stems:
        Write only these stems of the model, such as vocals,drums.
    residual:
        Write what they leave of the mix as well. The stem is named residual.
    high_band:
        What stems hold above the 11 or 16 kHz that the model knows: nothing, or a share of the mix
        by the average of what lies below.
    mwf:
        Use Spleeter's multichannel Wiener filter, on the whole file at once: it takes more time,
        and 20 MiB of memory and more for each second.
    start:
        Where in each track to begin, such as 90s or 1:30.
    duration:
        How much of each track to take, such as 30s.
    audio_track:
        Which audio track of a film to take: its number, from 1, or a language such as en or deu.
        The default track if not given.
    format:
        wav, flac, mp3, ogg, opus or m4a.
    bit_depth:
        16, 24 or 32f, or as in the source. For wav and flac, 24 if not given; 32f is floating
        point, for wav. 16 bits are dithered.
    sample_rate:
        Of the stems, or source. The models work at 44100 whatever it is.
    bitrate:
        Of mp3 (320k if not given), ogg (256k), m4a (256k) and opus (192k).
    clip:
        What becomes of samples beyond full scale: they are cut to it, all stems of the track are
        made quieter, or they are kept. Cut if not given, kept with 32f.
    tags:
        Give the stems the tags and the cover of their source, the title with the stem's name.
    jobs:
        How many files at once. auto weighs processors against memory.
    threads:
        How many threads for each; auto shares the processors.
    engine:
        What runs the network: tensorflow, or onnx, which takes less memory and goes with every
        Python. auto is the first of them that is installed. The stems are the same, to 1e-5.
    max_ram:
        Memory of all processes together, such as 4GiB. Or 50% of what is free; 60% if not given.
    max_ram_per_file:
        Memory of one file's process; half again what the model is expected to take if not given.
    min_free:
        Memory left free for other programs, such as 1GiB; 10%, at least 512MiB, if not given.
    timeout:
        Longest time for one file, such as 20m or 4x. 4x is four times the expected time; there is
        no limit if not given.
    stall_timeout:
        Longest time without progress.
    retries:
        How often to try a file again, for each kind of failure.
    order:
        Which tracks come first; given is the order of the inputs.
    until:
        Start nothing that would not end by then, such as 07:00.
    on_battery:
        What to do while a laptop runs on its battery; pause starts nothing.
    keep_awake:
        Keep the machine from falling asleep meanwhile.
    nice:
        Give way to other programs, from 0 to 19.
    cluster:
        Do it on a Ray cluster: local starts one on this machine, auto takes the one that this
        machine belongs to, HOST:PORT names one. --jobs, --threads and --max-ram then hold for each
        shard of the batch.
    path_map:
        A folder that the nodes of the cluster see at another path, as HERE=THERE. May be repeated.
    overwrite:
        Separate again what is done, and replace it.
    retry_failed:
        Try again what has failed in an earlier run.
    accept_damaged:
        Write what is there of a damaged file, with a warning, instead of failing when more than 5 %
        of it is lost. Also tries again what has failed as damaged in an earlier run.
    dry_run:
        Tell what would be done, and do nothing. Also how long it would take and what it would
        need.
    json:
        Print one JSON object a line for every event.
    quiet:
        Print failures alone.
    verbose:
        Print details and tracebacks as well.
    """
    from stemsplit.batch import api

    inputs, listed = read_inputs(inputs, from_file, "separate")
    settings = msgspec.structs.replace(
        written_as(
            start=start,
            duration=duration,
            format=format,
            bit_depth=bit_depth,
            usual_bit_depth="24",
            sample_rate=sample_rate,
            bitrate=bitrate,
            clip=clip,
            tags=tags,
            audio_track=audio_track,
            accept_damaged=accept_damaged,
        ),
        model=model,
        stems=None if stems is None else tuple(one.strip() for one in stems.split(",")),
        residual=residual,
        high_band=high_band,
        mwf=mwf,
        threads=None if threads == "auto" else threads,
        engine=named(engine),
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
    do = partial(
        api.separate,
        inputs,
        output,
        settings,
        listed=listed.paths,
        listed_in=listed.base,
        exclude=exclude or (),
        limit=limit,
        name=name,
        limits=limits,
        overwrite=overwrite,
        retry_failed=retry_failed,
        order=order,
        until=until,
        on_battery=on_battery,
        keep_awake=keep_awake,
        cluster=cluster,
        path_map=path_map or (),
        dry_run=dry_run,
    )
    return conduct(do, jobs=jobs, json=json, quiet=quiet, verbose=verbose)
