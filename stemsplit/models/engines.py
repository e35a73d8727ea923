"""Runs in the supervisor. The engines: what each is, which are installed, which one is used.

Looks whether their libraries are there; imports none.
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


@dataclass(frozen=True)
class Engine:
    """What of an engine is to be known outside the child, beside its loader (`settings.LOADERS`).

    Attributes:
        name: that `--engine` takes.
        libraries: that it needs, its own first.
        not_on: where they do not serve, though somebody may have installed them (`sys.platform`).
        converted: whether it takes weights in a form of its own (`models.convert`), and not as they
            were published.
        forkable: whether a process that has imported them may be forked: has no threads yet.
    """

    name: Literal["tensorflow", "onnx"]
    libraries: tuple[str, ...]
    not_on: frozenset[str] = frozenset()
    converted: bool = False
    forkable: bool = True


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        # TensorFlow's wheel for Windows lacks the C library that the engine calls.
        Engine("tensorflow", ("tensorflow", "spleeter"), not_on=frozenset({"win32"})),
        Engine("onnx", ("onnxruntime", "crc32c"), converted=True, forkable=False),
    )
}
"""By their names, the first choice first."""

_WHERE = "Python 3.10 or 3.11, on Linux or on a Mac with an Intel processor"
"""Where Spleeter and its TensorFlow can be installed (`pyproject.toml`)."""


def _remedy(engine: str) -> str:
    """Say what to do about an engine that is not installed."""
    if engine == "onnx":
        if sys.platform == "darwin" and platform.machine() == "x86_64" and _is_since(14):
            return "There is no ONNX Runtime for this Python here; use Python 3.10 to 3.13."
        return "Run `pip install '.[light]'` in a clone of stemsplit."
    if not _is_since(12) and sys.platform in {"linux", "darwin"}:
        return "Run `pip install .` again in a clone of stemsplit."
    return f"Leave --engine out, or use {_WHERE}."


def _is_since(minor: int) -> bool:
    return sys.version_info >= (3, minor)


def _is_installed(library: str) -> bool:
    spec = find_spec(library)
    return spec is not None and spec.origin is not None  # an empty folder has none


def missing_of(engine: str, *, has: Callable[[str], bool] = _is_installed) -> tuple[str, ...]:
    """Give the libraries that an engine lacks here."""
    known = ENGINES[engine]
    if sys.platform in known.not_on:
        return known.libraries
    return tuple(library for library in known.libraries if not has(library))


def installed(*, has: Callable[[str], bool] = _is_installed) -> tuple[str, ...]:
    """Give the engines that are installed, the first choice first."""
    return tuple(engine for engine in ENGINES if not missing_of(engine, has=has))


def engine_of(settings: Settings) -> Engine:
    """Give the engine that settings name, once they are `resolved`.

    Spleeter's filter, and what nothing is known of, is taken to be as TensorFlow is.
    """
    return ENGINES.get(name_of(settings.loader), ENGINES["tensorflow"])


def named(engine: str) -> str:
    """Take the name of an engine from a person or a file; gives it.

    Python programs alone may bring an engine of their own, as `module:function`: a file in the
    present folder must not have a module imported.

    Raises:
        UsageError: if there is none of that name.
    """
    if engine not in {AUTOMATIC, *LOADERS}:
        names = ", ".join((AUTOMATIC, *LOADERS))
        raise UsageError(f"There is no engine “{engine}”.", f"The engines are {names}.")
    return engine


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
    wanted = named(settings.engine)
    if settings.mwf:
        wanted = _for_the_filter(wanted)
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
                f"--mwf is Spleeter's own filter and needs {lacks}",
                f"Leave --mwf out, or use {_WHERE}.",
            )
        raise EngineError(f"The engine {wanted} needs {lacks}", _remedy(wanted))
    return msgspec.structs.replace(settings, engine=wanted)


def _for_the_filter(wanted: str) -> str:
    if wanted == "onnx":
        raise UsageError(
            "--mwf is Spleeter's own filter, which the engine onnx does not have.",
            "Leave --mwf out, or give --engine tensorflow.",
        )
    return "tensorflow"


def name_of(loader: str) -> str:
    """Name an engine by what loads it; what is not known by a name stays as it is."""
    module = loader.partition(":")[0]
    names = {path.partition(":")[0]: name for name, path in LOADERS.items()}
    return names.get(module, "tensorflow" if module.endswith(".engines.spleeter") else loader)
