"""Runs in the supervisor. `stemsplit convert`."""

from __future__ import annotations

import msgspec

from stemsplit.cli.commands.run_batch import read_inputs, read_settings, run_batch
from stemsplit.cli.options import ConvertOptions, Inputs


def convert(inputs: Inputs = None, /, *, options: ConvertOptions) -> int:
    """Convert sample rate, bit depth and format, without separation.

    song.mp3 becomes FOLDER/song.wav; files found in a folder keep their relative paths. Lossy
    formats are written with at most two channels; all others keep every channel. To continue, run
    the same command again.
    """
    paths, listed = read_inputs(inputs, options.from_file, "convert")
    settings = read_settings(options, default_bit_depth="source")
    settings = msgspec.structs.replace(settings, what="conversion")
    return run_batch(paths, listed, settings, options)
