"""Runs in the child. Loads a job's engine."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, cast

from stemsplit.child.separation import separate, separate_whole
from stemsplit.core.child_entry import resolve
from stemsplit.core.errors import REINSTALL, EngineError
from stemsplit.core.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stemsplit.child.engines.protocols import EngineLoader, WholeFileLoader
    from stemsplit.child.outputs import Separator
    from stemsplit.core.messages import Task


def load_separator(task: Task, stems: tuple[str, ...]) -> Separator:
    """Load the engine that the settings name and return its separation function.

    Args:
        task: the settings, the model's folder and the resources.
        stems: names of the wanted stems, in the model's order.

    Raises:
        EngineError: if the engine cannot be loaded or lacks one of the stems.
    """
    from stemsplit.audio.fft import fastest_transform  # imports SciPy; conversions do not need it

    settings, resources = task.settings, task.resources
    loader = _import_loader(settings.loader)
    if settings.mwf:
        load_whole = cast("WholeFileLoader", loader)
        with _translated_errors(settings.loader, ImportError):
            whole = load_whole(settings.model, task.model_path, resources.threads)
        return partial(separate_whole, engine=whole, stems=stems)
    load = cast("EngineLoader", loader)
    with _translated_errors(settings.loader, ImportError):  # a custom engine may import only now
        engine = load(settings.model, task.model_path, resources.threads, lean=resources.lean)
    if tuple(stem for stem in engine.stems if stem in stems) != stems:
        raise EngineError(f"The engine separates {engine.stems}, not {stems}.", REINSTALL)
    return partial(
        separate,
        engine=engine,
        transform=fastest_transform(),
        stems=stems,
        high_band=settings.high_band,
        overlapped=resources.threads > 1 and not resources.lean,
    )


def _import_loader(name: str) -> object:
    with _translated_errors(name, Exception):  # broken installations raise any exception
        loader = resolve(name)
        if not callable(loader):
            raise TypeError("it is not a function")
        return loader


@contextlib.contextmanager
def _translated_errors(loader: str, errors: type[Exception]) -> Iterator[None]:
    """Translate exceptions of the type `errors` into an `EngineError`."""
    try:
        yield
    except errors as error:
        is_built_in = loader.startswith("stemsplit.")
        raise EngineError(
            f"The engine {'' if is_built_in else f'{quoted(loader)} '}cannot be imported "
            f"({type(error).__name__}: {error}).",
            REINSTALL
            if is_built_in
            else "Set Settings.engine to `module:function`, with a module that the program itself "
            "can import.",
        ) from error
