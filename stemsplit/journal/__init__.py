"""The journal of an output folder: its database, lock, status file, layout and recovery.

Not here: which files there are (`library`) and what a batch decides about them (`batch`).
Imports: `core`, `storage`, `models`.
"""
