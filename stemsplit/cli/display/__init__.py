"""How a batch is shown: events as lines of text or JSON, progress as bars.

Not here: commands and their options.
Imports: `core`, `batch`.
"""
