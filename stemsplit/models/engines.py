"""Runs in the supervisor. The engines: their properties, which are installed, which one is used.

Checks whether their libraries are installed, without importing them.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import msgspec

from stemsplit.core.errors import EngineError, UsageError
from stemsplit.core.settings import AUTOMATIC, LOADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from stemsplit.core.settings import Settings

FormName = Literal["published", "converted"]
"""Name of a form of weights on disk (`models.weight_forms`)."""


@dataclass(frozen=True)
class Engine:
    """Properties of an engine that matter outside the child; `settings.LOADERS` has its loader.

    Attributes:
        name: name for `--engine`.
        libraries: libraries that it needs, its own first.
        not_on: platforms where these libraries do not work (`sys.platform`).
        weight_form: form of its weights (`models.weight_forms`).
        forkable: whether a process may be forked after importing the libraries, because they
            start no threads.
    """

    name: Literal["tensorflow", "onnx"]
    libraries: tuple[str, ...]
    not_on: frozenset[str] = frozenset()
    weight_form: FormName = "published"
    forkable: bool = True


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        # TensorFlow's wheel for Windows lacks the C library that the engine calls.
        Engine("tensorflow", ("tensorflow", "spleeter"), not_on=frozenset({"win32"})),
        Engine("onnx", ("onnxruntime", "crc32c"), weight_form="converted", forkable=False),
    )
}
"""Engines by name, in order of preference."""

_WHERE = "Python 3.11 on Linux or on a Mac with an Intel processor"
"""Where Spleeter and its TensorFlow have packages (`pyproject.toml`)."""


def _remedy(engine: str) -> str:
    if engine == "onnx":
        if _is_intel_mac() and sys.version_info >= (3, 14):
            return "ONNX Runtime does not support this Python here; use Python 3.10 to 3.13."
        return "Run `pip install '.[light]'` in a clone of stemsplit."
    if sys.version_info[:2] == (3, 11) and (sys.platform == "linux" or _is_intel_mac()):
        return "Run `pip install .` again in a clone of stemsplit."
    return f"Remove --engine, or use {_WHERE}."


def _is_intel_mac() -> bool:
    return sys.platform == "darwin" and platform.machine() == "x86_64"


def _is_installed(library: str) -> bool:
    spec = find_spec(library)
    return spec is not None and spec.origin is not None  # None for an empty folder


def missing_of(engine: str, *, has: Callable[[str], bool] = _is_installed) -> tuple[str, ...]:
    """Return the libraries that an engine lacks on this machine."""
    known = ENGINES[engine]
    if sys.platform in known.not_on:
        return known.libraries
    return tuple(library for library in known.libraries if not has(library))


def installed(*, has: Callable[[str], bool] = _is_installed) -> tuple[str, ...]:
    """Return the installed engines in order of preference."""
    return tuple(engine for engine in ENGINES if not missing_of(engine, has=has))


def engine_of(settings: Settings) -> Engine:
    """Return the engine of resolved settings.

    Spleeter's filter and unknown engines are treated like TensorFlow.
    """
    return ENGINES.get(name_of(settings.loader), ENGINES["tensorflow"])


def check_engine_name(engine: str) -> str:
    """Return the name of an engine from a user or a file, if it is known.

    Only Python programs may use their own engine (`module:function`): a settings file in the
    current folder must not be able to import a module.

    Raises:
        UsageError: if there is no such engine.
    """
    if engine not in {AUTOMATIC, *LOADERS}:
        names = ", ".join((AUTOMATIC, *LOADERS))
        raise UsageError(f"Unknown engine “{engine}”.", f"The engines are {names}.")
    return engine


def resolved(settings: Settings, *, has: Callable[[str], bool] = _is_installed) -> Settings:
    """Return settings with `auto` replaced by the name of an installed engine.

    Args:
        settings: an engine given as `module:function` stays.
        has: returns whether a library is installed.

    Raises:
        EngineError: if the wanted engine is not installed, or none is.
        UsageError: if there is no such engine, or it does not support `mwf`.
    """
    if not settings.separates or ":" in settings.engine:
        return settings
    wanted = check_engine_name(settings.engine)
    if settings.mwf:
        if wanted not in {AUTOMATIC, "tensorflow"}:
            raise UsageError(
                f"--mwf uses Spleeter's own filter, which the {wanted} engine does not have.",
                "Remove --mwf, or use --engine tensorflow.",
            )
        wanted = "tensorflow"
    if wanted == AUTOMATIC:
        found = installed(has=has)
        if not found:
            raise EngineError("No engine is installed.", _remedy("onnx"))
        wanted = found[0]
    if missing := missing_of(wanted, has=has):
        lacks = (
            f"{' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed."
        )
        if settings.mwf:
            raise EngineError(
                f"--mwf uses Spleeter's own filter, which needs {lacks}",
                f"Remove --mwf, or use {_WHERE}.",
            )
        raise EngineError(f"The {wanted} engine needs {lacks}", _remedy(wanted))
    return msgspec.structs.replace(settings, engine=wanted)


def name_of(loader: str) -> str:
    """Return the name of the engine with this loader, or the loader itself if it is unknown."""
    module = loader.partition(":")[0]
    names = {path.partition(":")[0]: name for name, path in LOADERS.items()}
    return names.get(module, "tensorflow" if module.endswith(".engines.spleeter") else loader)
