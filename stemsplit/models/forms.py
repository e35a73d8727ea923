"""Runs in the supervisor. The forms of a model's weights on disk: published and converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemsplit.core.settings import Settings
from stemsplit.models.catalogue import find
from stemsplit.models.converted import ensure_converted
from stemsplit.models.engines import engine_of
from stemsplit.models.fetch import ensure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stemsplit.models.fetch import Progress as DownloadProgress


def weights_of(
    settings: Settings,
    *,
    published: bool = False,
    progress: Callable[[str], DownloadProgress] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Path | None:
    """Give the folder of the verified weights, fetched if need be; None where none are needed.

    They are in the form that the engine takes, or with `published` as they were published.

    Raises:
        ModelError: if they cannot be had.
    """
    if not settings.separates:
        return None
    model = find(settings.model)
    folder = ensure(model.weights, progress=progress, note=note)
    if engine_of(settings).converted and not published:
        return ensure_converted(model, folder, note=note)
    return folder
