"""Runs in the supervisor. `stemsplit inspect`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.cli.display.event_output import print_json
from stemsplit.cli.options import ENGINE, MODEL
from stemsplit.core.errors import ExitCode
from stemsplit.core.settings import AUTOMATIC
from stemsplit.core.text import clock_time, mebibytes
from stemsplit.models.engines import named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.api.inspection import Inspection

_LAYOUTS = {
    ("FC",): "mono",
    ("FL", "FR"): "stereo",
    ("FL", "FR", "FC", "LFE", "BL", "BR"): "5.1",
    ("FL", "FR", "FC", "LFE", "SL", "SR"): "5.1",
    ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"): "7.1",
}


def inspect(
    inputs: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    model: Annotated[str, MODEL] = "2stems",
    engine: Annotated[str, ENGINE] = AUTOMATIC,
    json: bool = False,
) -> int:
    """Tell what audio files hold: rate, bits declared and used, levels, loudness.

    Each file is read to its end. Bits that a file has and does not use, as after padding 16 bits
    to 24, are found out.

    Parameters
    ----------
    inputs:
        Audio files, folders to search for them, and patterns.
    model:
        Predict memory and time for this model.
    engine:
        Predict them for this engine: tensorflow, onnx, or auto, the first that is installed.
    json:
        Print one JSON object a line for every file.
    """
    from stemsplit.api.inspection import NotInspected
    from stemsplit.api.inspection import inspect as inspect_files

    code = ExitCode.DONE
    console = Console(highlight=False)
    for one in inspect_files(inputs, model=model, engine=named(engine)):
        if isinstance(one, NotInspected):
            code = ExitCode.SOME_FAILED
        if json:
            print_json(one)
        elif isinstance(one, NotInspected):
            print(f"{one.path}: {one.error} {one.remedy}".rstrip(), file=sys.stderr)
        else:
            console.print(_table(one))
    return code


def _table(one: Inspection) -> Table:
    table = Table(title=Text(one.path), title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(one):
        table.add_row(name, Text(value))
    return table


def _rows(one: Inspection) -> Iterator[tuple[str, str]]:
    yield "format", f"{one.format}, {one.size_bytes:,} bytes"
    yield "duration", f"{clock_time(one.seconds)}, {one.frames:,} frames"
    yield "sample rate", f"{one.sample_rate} Hz, which holds up to {one.nyquist_hertz:g} Hz"
    channels = _LAYOUTS.get(one.channels, " ".join(one.channels))
    yield "channels", f"{len(one.channels)} ({channels})"
    yield "bit depth", _bits(one)
    yield "peak", _level(one.peak_dbfs, "dBFS")
    yield "true peak", _level(one.true_peak_dbtp, "dBTP")
    yield "loudness", _level(one.loudness_lufs, "LUFS")
    if one.loudness_range_lu is not None:
        yield "loudness range", f"{one.loudness_range_lu:.1f} LU"
    if one.predicted_memory_bytes is None or one.predicted_seconds is None:
        yield f"separating ({one.model})", "takes more memory than this machine has"
    else:
        memory, time = mebibytes(one.predicted_memory_bytes), clock_time(one.predicted_seconds)
        yield f"separating ({one.model})", f"about {memory} of memory and {time}"
    if one.warning:
        yield "warning", one.warning
    for note in one.notes:
        yield "note", note


def _bits(one: Inspection) -> str:
    if one.declared_bits is None:
        return "none: the encoding is lossy"
    declared = f"{one.declared_bits}{' (floating point)' if one.floating else ''}"
    if one.peak_dbfs is None:
        return f"{declared}; there is silence alone"
    if one.used_bits is None:
        return declared
    if one.floating:
        return f"{declared}; {one.used_bits} bits would hold every sample"
    if one.is_padded:
        return f"{declared}, of which {one.used_bits} are used: the rest is padding"
    return f"{declared}, all used"


def _level(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.1f} {unit}"
