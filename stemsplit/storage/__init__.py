"""Where files lie: local and remote storage, safe reading, temporary folders, publishing of stems.

Not here: which files there are (`library`) and what is recorded about them (`journal`).
Imports: `core`.
"""
