"""Split songs into stems with Spleeter, one short-lived process a song.

Runs in both. Importing this package imports nothing heavy: the public names below are loaded
when they are first used (PEP 562), because every child process imports the package again.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stemsplit.batch import BatchResult, separate
    from stemsplit.errors import StemsplitError
    from stemsplit.job import Outcome, Reason, Settings

_HOME = {
    "BatchResult": "stemsplit.batch",
    "Outcome": "stemsplit.job",
    "Reason": "stemsplit.job",
    "Settings": "stemsplit.job",
    "StemsplitError": "stemsplit.errors",
    "separate": "stemsplit.batch",
}

__all__ = [
    "BatchResult",
    "Outcome",
    "Reason",
    "Settings",
    "StemsplitError",
    "__version__",
    "separate",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what PEP 562 prescribes
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
