"""Spleeter's own separation of whole files for `--mwf`. No other code imports Spleeter.

Not here: engines that process one segment at a time (`child.engines`).
Imports: nothing.
"""

from stemsplit.child.engines.spleeter.whole_file import load_whole_file

__all__ = ["load_whole_file"]
