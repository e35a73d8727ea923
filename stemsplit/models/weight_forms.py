"""Runs in the supervisor. Ensures, verifies and forgets weights in each form on disk.

Published weights are Spleeter's own files. Converted weights are made of them, once, for an engine
that maps its own file into memory (docs/decisions/0013-a-second-engine.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.models import converted, download, published
from stemsplit.models.catalogue import find_model
from stemsplit.models.engines import engine_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.core.settings import Settings
    from stemsplit.models.catalogue import Model
    from stemsplit.models.download import Progress as DownloadProgress
    from stemsplit.models.engines import FormName


def _no_note(_text: str) -> None:
    """Drop a message."""


def ensure(
    form: FormName,
    model: Model,
    *,
    progress: Callable[[str], DownloadProgress] | None = None,
    note: Callable[[str], None] = _no_note,
) -> Path:
    """Return the folder of verified weights, which are downloaded and converted if missing.

    Args:
        form: form of the weights.
        model: the model.
        progress: called with a file name; returns the progress display of its download.
        note: called with messages for the user.

    Raises:
        ModelError: if the weights are invalid, or cannot be downloaded or written.
    """
    folder = download.ensure(model.weights, progress=progress, note=note)
    if form == "published":
        return folder
    return converted.ensure_converted(model, folder, note=note)


def verify(form: FormName, model: Model) -> Path:
    """Compare weights with their checksums and return their folder.

    Raises:
        ModelError: if a file is missing or damaged.
    """
    folder = published.verify(model.weights)
    return folder if form == "published" else converted.verify(model, folder)


def forget(form: FormName, model: Model) -> bool:
    """Remove weights from this machine, and return whether they were there.

    Raises:
        ModelError: if they cannot be removed.
    """
    if form == "published":
        return published.remove(model.weights)
    return converted.remove(model)


def ensure_weights(
    settings: Settings,
    *,
    published_only: bool = False,
    progress: Callable[[str], DownloadProgress] | None = None,
    note: Callable[[str], None] = _no_note,
) -> Path | None:
    """Return the folder of the verified weights that the engine needs.

    Args:
        settings: settings of the batch.
        published_only: whether published weights suffice, because others convert them.
        progress: see `ensure`.
        note: see `ensure`.

    Returns:
        the folder; None for a conversion, which needs no weights.

    Raises:
        ModelError: if the weights are invalid, or cannot be downloaded or written.
    """
    if not settings.separates:
        return None
    form: FormName = "published" if published_only else engine_of(settings).weight_form
    return ensure(form, find_model(settings.model), progress=progress, note=note)
