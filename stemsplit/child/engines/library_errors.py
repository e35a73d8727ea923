"""Runs in the child. What engines' libraries read of the environment; errors of TensorFlow's."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from stemsplit.core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VARIABLES = {
    # No word on which instructions it was built for.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # By itself TensorFlow takes oneDNN's convolutions only where a processor has AVX-512 VNNI;
    # they are the quicker ones with AVX2 as well (docs/decisions/0010-the-fast-path.md).
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # Otherwise ONNX Runtime, from 1.32 on, writes a device id below the home folder and looks for a
    # host of Microsoft's to report to.
    "ORT_DISABLE_TELEMETRY": "1",
}


def prepare_environment() -> None:
    """Set what TensorFlow and ONNX Runtime read while they are loaded, unless it is set already."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def loading(model: str, folder: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn `errors` into a sentence on why weights could not be loaded.

    Raises:
        EngineError: in their place.
    """
    try:
        yield
    except errors as error:
        raise EngineError(
            f"TensorFlow cannot load the weights of {model} from {folder}: "
            f"{str(error).splitlines()[0]}",
            f"Run `stemsplit models verify {model}`, then `stemsplit models fetch {model}`.",
        ) from error
