"""A generated song whose true stems are known, its separation and its score.

Not here: the command that prints the score (`cli`).
Imports: `batch`, `core`, `models`, `storage`.
"""
