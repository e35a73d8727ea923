"""Runs in the supervisor. `stemsplit models`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from stemsplit.cli.display.download_bar import download_display
from stemsplit.core.errors import ExitCode, ModelError
from stemsplit.core.text import printable
from stemsplit.models import fetch as fetching
from stemsplit.models import store
from stemsplit.models.catalogue import MODELS, WEIGHTS_FILES, Weights, find
from stemsplit.models.converted import ensure_converted
from stemsplit.models.engines import ENGINES, installed

if TYPE_CHECKING:
    from collections.abc import Iterable

app = App(name="models", help="List, fetch, import and verify Spleeter's models.", help_epilogue="")


@app.command(name="list")
def list_models() -> int:
    """List the models, their stems, and whether each is on this machine."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "stems", "up to", "on this machine"):
        table.add_column(column)
    for model in MODELS.values():
        present = store.is_present(model.weights)
        table.add_row(
            model.name,
            ", ".join(model.stems),
            f"{model.highest_hertz / 1000:.1f} kHz",
            "yes" if present else "no",
        )
    Console(soft_wrap=True).print(table)
    return ExitCode.DONE


@app.command
def fetch(names: Annotated[list[str], Parameter(negative=())], /) -> int:
    """Download models, replacing what is there.

    Parameters
    ----------
    names:
        Models; the plain one and its -16kHz variant share their weights.
    """
    for weights in _weights(names):
        folder = fetching.fetch(weights, progress=download_display(), note=_note)
        _prepare(weights, folder)
        print(f"{weights.name}: {printable(folder)}")
    return ExitCode.DONE


@app.command(name="import")
def import_model(name: str, source: Path, /) -> int:
    """Take a model from a local archive or folder, for machines without a network.

    Parameters
    ----------
    name:
        The model.
    source:
        NAME.tar.gz as Deezer published it, or a folder with its files.
    """
    weights = find(name).weights
    folder = fetching.import_from(weights, source)
    _prepare(weights, folder)
    unchecked = [name for name in WEIGHTS_FILES if name not in weights.file_sha256]
    print(f"{weights.name}: {printable(folder)}")
    if unchecked:
        _note(
            f"no published checksum is known of {', '.join(unchecked)}; "
            "from now on they are held against the checksum they have today"
        )
    return ExitCode.DONE


@app.command
def verify(names: Annotated[list[str], Parameter(negative=())] | None = None, /) -> int:
    """Hold every file of models against its checksum.

    Parameters
    ----------
    names:
        Models; all that are on this machine if none is named.
    """
    chosen = _weights(names) if names else [w for w in _weights(MODELS) if store.is_present(w)]
    if not chosen:
        raise ModelError(
            "There are no models on this machine.", "Run `stemsplit models fetch 2stems`."
        )
    code = ExitCode.DONE
    for weights in chosen:
        try:
            folder = store.verify(weights)
        except ModelError as error:
            print(f"{weights.name}: {printable(str(error))}", file=sys.stderr)
            code = error.exit_code
        else:
            unknown = store.unchecked(weights, folder)
            also = f" (no checksum is known of {', '.join(unknown)})" if unknown else ""
            print(f"{weights.name}: ok{also}, {printable(folder)}")
    return code


@app.command
def path(name: str | None = None, /) -> int:
    """Print the folder of models, or of one model.

    Parameters
    ----------
    name:
        The model.
    """
    print(store.weights_folder(find(name).weights) if name else store.models_folder())
    return ExitCode.DONE


def _weights(names: Iterable[str]) -> list[Weights]:
    """Give the weights of some models, each once."""
    return list({(weights := find(name).weights).name: weights for name in names}.values())


def _prepare(weights: Weights, folder: Path) -> None:
    """Convert weights where the engine that is used takes others, so that all is there by now."""
    there = installed()
    if there and ENGINES[there[0]].converted:
        model = next(model for model in MODELS.values() if model.weights is weights)
        ensure_converted(model, folder, note=_note)


def _note(text: str) -> None:
    print(f"note: {printable(text)}", file=sys.stderr)
