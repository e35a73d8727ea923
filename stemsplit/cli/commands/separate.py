"""Runs in the supervisor. `stemsplit separate`."""

from __future__ import annotations

import msgspec

from stemsplit.cli.commands.run_batch import read_inputs, read_settings, run_batch
from stemsplit.cli.options import Inputs
from stemsplit.cli.separate_options import SeparateOptions
from stemsplit.core.limits import Limits
from stemsplit.models.engines import check_engine_name


def separate(inputs: Inputs = None, /, *, options: SeparateOptions) -> int:
    """Separate audio files into stems.

    The stems of song.mp3 are FOLDER/song/vocals.wav and so on; tracks found in a folder keep their
    relative paths. To continue, run the same command again. Ctrl-C lets running tracks finish;
    press it again to stop at once.
    """
    paths, listed = read_inputs(inputs, options.from_file, "separate")
    stems, threads = options.stems, options.threads
    settings = msgspec.structs.replace(
        read_settings(options, default_bit_depth="24"),
        model=options.model,
        stems=None if stems is None else tuple(name.strip() for name in stems.split(",")),
        residual=options.residual,
        high_band=options.high_band,
        mwf=options.mwf,
        threads=None if threads == "auto" else threads,
        engine=check_engine_name(options.engine),
    )
    limits = Limits.parse(
        max_ram=options.max_ram,
        max_ram_per_file=options.max_ram_per_file,
        min_free=options.min_free,
        timeout=options.timeout,
        stall_timeout=options.stall_timeout,
        retries=options.retries,
        nice=options.nice,
    )
    return run_batch(
        paths,
        listed,
        settings,
        options,
        limits=limits,
        until=options.until,
        on_battery=options.on_battery,
        keep_awake=options.keep_awake,
        cluster=options.cluster,
        path_map=options.path_map or (),
    )
