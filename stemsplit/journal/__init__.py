"""The journal of an output folder: its database, lock, status file, layout and recovery.

Not here: the files in it (`library`) and what a batch decides about them (`batch`).
Imports: `core`, `models`, `storage`.
"""
