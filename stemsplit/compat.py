"""Runs in both. What Python 3.10 lacks of the standard library of 3.11."""

from __future__ import annotations

import sys
from enum import Enum

if sys.version_info >= (3, 11):
    from enum import StrEnum

    import tomllib
else:
    import tomli as tomllib

    class StrEnum(str, Enum):
        """Members that are texts, and are written as such."""

        __str__ = str.__str__
        __format__ = str.__format__


__all__ = ["StrEnum", "run_module", "safe_path", "tomllib"]


def safe_path() -> tuple[str, ...]:
    """Give the option that keeps Python from looking for modules beside a script or where it is."""
    return ("-P",) if sys.version_info >= (3, 11) else ()


def run_module(name: str) -> tuple[str, ...]:
    """Give the command that runs a module as a program, with nothing of the present folder."""
    if sys.version_info >= (3, 11):
        return (sys.executable, "-P", "-m", name)
    program = (
        "import sys; sys.path.remove(''); import runpy; "
        f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    )
    return (sys.executable, "-c", program)
