"""Runs in the supervisor. `stemsplit inspect`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.cli.display.json_display import print_json
from stemsplit.cli.options import EngineName, ModelName, engine_value, flag, model_value
from stemsplit.core.errors import ExitCode
from stemsplit.core.settings import AUTOMATIC
from stemsplit.core.text import clock_time, mebibytes
from stemsplit.models.engines import check_engine_name

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
    inputs: Annotated[
        list[str], Parameter(negative=(), help="Audio files, folders to search, and patterns.")
    ],
    /,
    *,
    model: Annotated[ModelName, model_value("Predict memory and time for this model.")] = "2stems",
    engine: Annotated[
        EngineName,
        engine_value(
            "Predict memory and time for this engine. It is tensorflow, onnx, or auto for the "
            "first one installed."
        ),
    ] = AUTOMATIC,
    json: Annotated[bool, flag("Print one line of JSON for each file.")] = False,
) -> int:
    """Show a file's sample rate, bit depth, levels and loudness.

    Each file is read to the end, which also reveals unused bits, such as 16 bits padded to 24.
    """
    from stemsplit.api.inspection import NotInspected
    from stemsplit.api.inspection import inspect as inspect_files

    code = ExitCode.DONE
    console = Console(highlight=False)
    for result in inspect_files(inputs, model=model, engine=check_engine_name(engine)):
        if isinstance(result, NotInspected):
            code = ExitCode.SOME_FAILED
        if json:
            print_json(result)
        elif isinstance(result, NotInspected):
            print(f"{result.path}: {result.error} {result.remedy}".rstrip(), file=sys.stderr)
        else:
            console.print(_table(result))
    return code


def _table(found: Inspection) -> Table:
    table = Table(title=Text(found.path), title_justify="left", show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, Text(value))
    return table


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "format", f"{found.format}, {found.size_bytes:,} bytes"
    yield "duration", f"{clock_time(found.seconds)}, {found.frames:,} frames"
    yield "sample rate", f"{found.sample_rate} Hz (frequencies up to {found.nyquist_hertz:g} Hz)"
    channels = _LAYOUTS.get(found.channels, " ".join(found.channels))
    yield "channels", f"{len(found.channels)} ({channels})"
    yield "bit depth", _bits(found)
    yield "peak", _level(found.peak_dbfs, "dBFS")
    yield "true peak", _level(found.true_peak_dbtp, "dBTP")
    yield "loudness", _level(found.loudness_lufs, "LUFS")
    if found.loudness_range_lu is not None:
        yield "loudness range", f"{found.loudness_range_lu:.1f} LU"
    if found.predicted_memory_bytes is None or found.predicted_seconds is None:
        yield f"separating ({found.model})", "needs more memory than this machine has"
    else:
        memory, time = mebibytes(found.predicted_memory_bytes), clock_time(found.predicted_seconds)
        yield f"separating ({found.model})", f"about {memory} of memory and {time}"
    if found.warning:
        yield "warning", found.warning
    for note in found.notes:
        yield "note", note


def _bits(found: Inspection) -> str:
    if found.declared_bits is None:
        return "none (lossy encoding)"
    declared = f"{found.declared_bits}{' (floating point)' if found.floating else ''}"
    if found.peak_dbfs is None:
        return f"{declared}, silent"
    if found.used_bits is None:
        return declared
    if found.floating:
        return f"{declared}, every sample fits in {found.used_bits} bits"
    if found.is_padded:
        return f"{declared}, {found.used_bits} used (padded)"
    return f"{declared}, all used"


def _level(value: float | None, unit: str) -> str:
    return "none" if value is None else f"{value:.1f} {unit}"
