"""Starts, supervises, terminates and retries child processes within a memory budget.

Not here: what a child runs (`child`), the files of a track (`executors`), the pool of a cluster
    (`executors`).
Imports: `core`, `storage`.
"""
