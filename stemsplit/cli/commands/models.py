"""Runs in the supervisor. `stemsplit models`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from stemsplit.cli.display.bars import download_bar_factory
from stemsplit.core.errors import ExitCode, ModelError
from stemsplit.core.text import printable
from stemsplit.models import converted, download, published, store, weight_forms
from stemsplit.models.catalogue import MODELS, WEIGHTS_FILES, Model, Weights, find_model
from stemsplit.models.engines import ENGINES, FormName, installed

if TYPE_CHECKING:
    from collections.abc import Iterable

app = App(name="models", help="List, download, import, verify and remove models.", help_epilogue="")


@app.command(name="list")
def list_models() -> int:
    """List the models, their stems, and whether they are installed."""
    table = Table(box=None, pad_edge=False)
    for column in ("model", "stems", "up to", "installed"):
        table.add_column(column)
    for model in MODELS.values():
        present = published.is_present(model.weights)
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
    """Download models and replace installed ones.

    Parameters
    ----------
    names:
        Models to download. A model and its -16kHz variant share their weights.
    """
    for weights in _weights(names):
        folder = download.fetch(weights, progress=download_bar_factory(), note=_note)
        _convert_if_needed(weights, folder)
        print(f"{weights.name}: {printable(folder)}")
    return ExitCode.DONE


@app.command(name="import")
def import_model(name: str, source: Path, /) -> int:
    """Install a model from a local archive or folder, without network access.

    Parameters
    ----------
    name:
        Model to install.
    source:
        NAME.tar.gz as published by Deezer, or a folder with its files.
    """
    weights = find_model(name).weights
    folder = download.import_from(weights, source)
    _convert_if_needed(weights, folder)
    unchecked = [file for file in WEIGHTS_FILES if file not in weights.file_sha256]
    print(f"{weights.name}: {printable(folder)}")
    if unchecked:
        _note(
            f"no published checksum is known for {', '.join(unchecked)}; "
            "later checks compare with today's checksum"
        )
    return ExitCode.DONE


@app.command
def verify(names: Annotated[list[str], Parameter(negative=())] | None = None, /) -> int:
    """Check the files of models against their checksums.

    Parameters
    ----------
    names:
        Models to check. Without names, all installed models.
    """
    chosen = (
        _weights(names)
        if names
        else [weights for weights in _weights(MODELS) if published.is_present(weights)]
    )
    if not chosen:
        raise ModelError("No models are installed.", "Run `stemsplit models fetch 2stems`.")
    code = ExitCode.DONE
    for weights in chosen:
        try:
            folder = weight_forms.verify("published", _model_of(weights))
        except ModelError as error:
            print(f"{weights.name}: {printable(str(error))}", file=sys.stderr)
            code = error.exit_code
        else:
            unknown = published.unchecked(weights, folder)
            note = f" (no checksum is known for {', '.join(unknown)})" if unknown else ""
            print(f"{weights.name}: ok{note}, {printable(folder)}")
    return code


@app.command
def remove(names: Annotated[list[str], Parameter(negative=())], /) -> int:
    """Remove models from this machine.

    Parameters
    ----------
    names:
        Models to remove. A model and its -16kHz variant share their weights.
    """
    for weights in _weights(names):
        found = [weight_forms.forget(form, _model_of(weights)) for form in get_args(FormName)]
        print(f"{weights.name}: {'removed' if any(found) else 'not installed'}")
    return ExitCode.DONE


@app.command
def path(name: str | None = None, /) -> int:
    """Print the models folder, or the folder of one model.

    Parameters
    ----------
    name:
        Print the folder of this model.
    """
    print(published.weights_folder(find_model(name).weights) if name else store.models_folder())
    return ExitCode.DONE


def _weights(names: Iterable[str]) -> list[Weights]:
    """Return the weights of the models without duplicates."""
    return list({(weights := find_model(name).weights).name: weights for name in names}.values())


def _model_of(weights: Weights) -> Model:
    return next(model for model in MODELS.values() if model.weights is weights)


def _convert_if_needed(weights: Weights, folder: Path) -> None:
    """Convert the weights in `folder` now if the preferred engine needs converted ones."""
    engines = installed()
    if engines and ENGINES[engines[0]].weight_form == "converted":
        converted.ensure_converted(_model_of(weights), folder, note=_note)


def _note(text: str) -> None:
    print(f"note: {printable(text)}", file=sys.stderr)
