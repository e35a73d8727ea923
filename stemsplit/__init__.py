"""Runs in both. The public API of stemsplit, which splits songs into stems with Spleeter.

Each public name is imported at its first use (PEP 562), because every child process imports this
package again.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stemsplit.core.version import __version__

if TYPE_CHECKING:
    from concurrent.futures import as_completed

    from stemsplit.api.inspection import Inspection, NotInspected, inspect
    from stemsplit.api.stem_future import StemFuture, TrackError
    from stemsplit.api.stem_pool import StemPool
    from stemsplit.batch.api import BatchResult, Control, convert, separate
    from stemsplit.batch.status import status
    from stemsplit.core.errors import StemsplitError
    from stemsplit.core.limits import Limits
    from stemsplit.core.outcome import Attempt, Outcome, Reason, TrackWarning, WarningKind
    from stemsplit.core.settings import Settings

_MODULES = {
    "Attempt": "stemsplit.core.outcome",
    "BatchResult": "stemsplit.batch.api",
    "Control": "stemsplit.batch.api",
    "Inspection": "stemsplit.api.inspection",
    "Limits": "stemsplit.core.limits",
    "NotInspected": "stemsplit.api.inspection",
    "Outcome": "stemsplit.core.outcome",
    "Reason": "stemsplit.core.outcome",
    "Settings": "stemsplit.core.settings",
    "StemFuture": "stemsplit.api.stem_future",
    "StemPool": "stemsplit.api.stem_pool",
    "StemsplitError": "stemsplit.core.errors",
    "TrackError": "stemsplit.api.stem_future",
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as PEP 562 prescribes
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
