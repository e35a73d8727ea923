"""A batch inside a daemonic process, in a module that a spawned process can import."""

from __future__ import annotations

from stemsplit import Settings, StemPool, separate
from stemsplit.core.errors import UsageError

_SETTINGS = Settings(engine="fake_engines:half")


def separate_in_a_daemon(song: str) -> list[str]:
    """Call `separate` and `StemPool`; return the error messages."""
    messages = []
    try:
        separate([song], f"{song} out", _SETTINGS)
    except UsageError as error:
        messages.append(str(error))
    try:
        with StemPool(_SETTINGS) as pool:
            pool.submit(song, f"{song} out").result(60)
    except UsageError as error:
        messages.append(str(error))
    return messages
