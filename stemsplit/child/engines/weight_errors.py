"""Runs in the child. Translates errors that TensorFlow raises while it loads weights."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from stemsplit.core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def translate_weight_errors(model: str, folder: Path, *errors: type[Exception]) -> Iterator[None]:
    """Translate exceptions of the types `errors` into an `EngineError` that names the weights."""
    try:
        yield
    except errors as error:
        raise EngineError(
            f"TensorFlow cannot load the weights of {model} from {folder}: "
            f"{str(error).splitlines()[0]}",
            f"Run `stemsplit models verify {model}`, then `stemsplit models fetch {model}`.",
        ) from error
