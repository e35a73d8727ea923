"""Runs in the child. What both engines know of Spleeter's models and of TensorFlow."""

from __future__ import annotations

import contextlib
import json
import os
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from stemsplit.audio.stft import SEGMENT_FRAMES
from stemsplit.child.engines.ratio_mask import EXPONENT
from stemsplit.errors import REINSTALL, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VARIABLES = {
    # No word on which instructions it was built for.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # By itself TensorFlow takes oneDNN's convolutions only where a processor has AVX-512 VNNI;
    # they are the quicker ones with AVX2 as well (docs/decisions/0010-the-fast-path.md).
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def prepare_environment() -> None:
    """Set what TensorFlow reads while it is loaded, unless somebody has set it."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)


def read_configuration(model: str) -> dict[str, Any]:
    """Read one of Spleeter's configurations without its code, which imports TensorFlow's package.

    Args:
        model: its name, such as `2stems-16kHz`.

    Raises:
        EngineError: if it is not one that can be separated by segments.
    """
    text = files("spleeter.resources").joinpath(f"{model}.json").read_text()
    configuration: dict[str, Any] = json.loads(text)
    if configuration["T"] != SEGMENT_FRAMES or configuration["separation_exponent"] != EXPONENT:
        raise EngineError(
            f"The configuration of {model} is not one that stemsplit can stream.", REINSTALL
        )
    return configuration


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
