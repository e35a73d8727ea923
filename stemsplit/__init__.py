"""Split songs into stems with Spleeter, one short-lived process a song.

Runs in both. Importing this package imports nothing heavy: the public names below are loaded
when they are first used (PEP 562), because every child process imports the package again.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stemsplit.core.version import __version__

if TYPE_CHECKING:
    from concurrent.futures import as_completed

    from stemsplit.api.inspection import Inspection, NotInspected, inspect
    from stemsplit.api.stem_pool import StemFuture, StemPool, TrackError
    from stemsplit.batch.api import BatchResult, Control, convert, separate
    from stemsplit.batch.status import status
    from stemsplit.core.errors import StemsplitError
    from stemsplit.core.limits import Limits
    from stemsplit.core.outcome import Attempt, Outcome, Reason, TrackWarning, WarningKind
    from stemsplit.core.settings import Settings

_HOME = {
    "Attempt": "stemsplit.core.outcome",
    "BatchResult": "stemsplit.batch.api",
    "Control": "stemsplit.batch.api",
    "Inspection": "stemsplit.api.inspection",
    "Limits": "stemsplit.core.limits",
    "NotInspected": "stemsplit.api.inspection",
    "Outcome": "stemsplit.core.outcome",
    "Reason": "stemsplit.core.outcome",
    "Settings": "stemsplit.core.settings",
    "StemFuture": "stemsplit.api.stem_pool",
    "StemPool": "stemsplit.api.stem_pool",
    "StemsplitError": "stemsplit.core.errors",
    "TrackError": "stemsplit.api.stem_pool",
    "TrackWarning": "stemsplit.core.outcome",
    "WarningKind": "stemsplit.core.outcome",
    "as_completed": "concurrent.futures",
    "convert": "stemsplit.batch.api",
    "inspect": "stemsplit.api.inspection",
    "separate": "stemsplit.batch.api",
    "status": "stemsplit.batch.status",
}

__all__ = [
    "Attempt",
    "BatchResult",
    "Control",
    "Inspection",
    "Limits",
    "NotInspected",
    "Outcome",
    "Reason",
    "Settings",
    "StemFuture",
    "StemPool",
    "StemsplitError",
    "TrackError",
    "TrackWarning",
    "WarningKind",
    "__version__",
    "as_completed",
    "convert",
    "inspect",
    "separate",
    "status",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - what PEP 562 prescribes
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
