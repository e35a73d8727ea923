"""Spleeter's own separation of whole files, for its Wiener filter (`--mwf`).

Not here: anything that works segment by segment.
Imports: `core` and the modules of `engines`; alone in the project, `spleeter` and `tensorflow`.
"""

from stemsplit.child.engines.spleeter.whole_file import load_whole_file

__all__ = ["load_whole_file"]
