"""How a batch is shown: lines of text, progress bars, or JSON.

Not here: commands and their options (`commands`, `options`).
Imports: `batch`, `core`.
"""
