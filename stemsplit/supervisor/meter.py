"""Runs in the supervisor. Memory of a process tree, counted so that shared pages count once."""

from __future__ import annotations

import psutil


def tree_memory_bytes(pid: int) -> int | None:
    """Sum the memory of a process and all of its descendants.

    PSS where the system has it (Linux): each page divided by the number of processes that share
    it, so that a fork server and its children are not counted twice. USS elsewhere.

    Returns:
        bytes, or None if the process itself cannot be read.
    """
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for process in tree:
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it ended meanwhile
            continue
        total += getattr(memory, "pss", memory.uss)
    return total
