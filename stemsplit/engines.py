"""Runs in the supervisor. The engines by their names: which are installed, which one is used.

Looks whether their libraries are there; imports none.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec

from stemsplit.errors import EngineError, UsageError
from stemsplit.job import AUTOMATIC, LOADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.job import Settings

LIBRARIES = {"tensorflow": ("tensorflow", "spleeter"), "onnx": ("onnxruntime", "crc32c")}
"""What each needs, the first choice first."""

_WHERE_TENSORFLOW = (
    "Spleeter's TensorFlow is installed with Python 3.10 or 3.11, on Linux and on Macs with an "
    "Intel processor"
)
_REMEDIES = {
    "tensorflow": f"{_WHERE_TENSORFLOW}; --engine onnx does without.",
    "onnx": "Run `pip install '.[light]'` in a clone of stemsplit.",
}


def _is_installed(library: str) -> bool:
    return find_spec(library) is not None


def missing_of(engine: str, *, has: Callable[[str], bool] = _is_installed) -> tuple[str, ...]:
    """Give the libraries that an engine lacks here."""
    return tuple(library for library in LIBRARIES[engine] if not has(library))


def installed(*, has: Callable[[str], bool] = _is_installed) -> tuple[str, ...]:
    """Give the engines that are installed, the first choice first."""
    return tuple(engine for engine in LIBRARIES if not missing_of(engine, has=has))


def resolved(settings: Settings, *, has: Callable[[str], bool] = _is_installed) -> Settings:
    """Put the engine's own name in the place of `auto`.

    Args:
        settings: may name an engine of somebody else's as `module:function`, which stays.
        has: tells whether a library is installed.

    Raises:
        EngineError: if the engine that is wanted is not installed, or none is.
        UsageError: if there is none of that name, or it cannot do what is asked for.
    """
    if not settings.separates or ":" in settings.engine:
        return settings
    wanted = settings.engine
    if wanted not in {AUTOMATIC, *LOADERS}:
        names = ", ".join((AUTOMATIC, *LOADERS))
        raise UsageError(f"There is no engine “{wanted}”.", f"The engines are {names}.")
    if settings.mwf:
        wanted = _for_the_filter(wanted)
    if wanted == AUTOMATIC:
        found = installed(has=has)
        if not found:
            raise EngineError("No engine is installed.", _REMEDIES["onnx"])
        wanted = found[0]
    if missing := missing_of(wanted, has=has):
        remedy = f"{_WHERE_TENSORFLOW}." if settings.mwf else _REMEDIES[wanted]
        raise EngineError(
            f"The engine {wanted} needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed.",
            remedy,
        )
    return msgspec.structs.replace(settings, engine=wanted)


def _for_the_filter(wanted: str) -> str:
    if wanted == "onnx":
        raise UsageError(
            "--mwf is Spleeter's own filter, which the engine onnx does not have.",
            "Leave one of the two out.",
        )
    return "tensorflow"


def name_of(loader: str) -> str:
    """Name an engine by what loads it; what is not known by a name stays as it is."""
    module = loader.partition(":")[0]
    names = {path.partition(":")[0]: name for name, path in LOADERS.items()}
    return names.get(module, "tensorflow" if module.endswith(".engines.spleeter") else loader)
