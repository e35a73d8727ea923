"""Runs in the supervisor. Words the notes about a batch as a whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stemsplit.core.text import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from stemsplit.batch.planning import BatchPlan
    from stemsplit.journal.recovery import Recovery
    from stemsplit.library.scan import ScanResult

_MAX_UNREADABLE = 20
"""Number of unreadable folders that are named."""


def scan_notes(found: ScanResult) -> Iterator[str]:
    """Yield what a scan ignored, and which folders it could not read."""
    ignored = found.ignored
    if found.duplicates:
        yield f"{counted(found.duplicates, 'file')} given more than once; duplicates ignored"
    if ignored.system:
        folders = counted(len(ignored.system), "system folder")
        yield f"{folders} ignored ({_names(ignored.system)})"
    if ignored.hidden:
        hidden = counted(len(ignored.hidden), "hidden file or folder", "hidden files and folders")
        names = _names(ignored.hidden)
        yield f"{hidden} ignored ({names}); to include one, name it as an input"
    excluded = [
        counted(len(paths), what)
        for paths, what in ((ignored.excluded_files, "file"), (ignored.excluded_folders, "folder"))
        if paths
    ]
    if excluded:
        names = _names([*ignored.excluded_folders, *ignored.excluded_files])
        yield f"{' and '.join(excluded)} excluded by --exclude ({names})"
    for pattern in found.unmatched:
        yield f"--exclude {quoted(pattern)} matched nothing"
    if ignored.unfinished:
        files = counted(len(ignored.unfinished), "unfinished file")
        yield f"{files} ignored ({_names(ignored.unfinished)})"
    if ignored.unknown:
        files = counted(len(ignored.unknown), "file")
        extensions = _extensions(ignored.unknown)
        yield f"{files} ignored, not audio by name or content ({extensions})"
    for folder in found.unreadable[:_MAX_UNREADABLE]:
        yield f"warning: {folder.message} Its contents were ignored. {folder.remedy}"
    more = len(found.unreadable) - _MAX_UNREADABLE
    if more > 0:
        yield f"warning: {counted(more, 'more folder')} cannot be read"


def plan_notes(batch_plan: BatchPlan) -> Iterator[str]:
    """Yield which tracks and files a batch skips for reasons that the user may not expect."""
    if batch_plan.untracked:
        yield (
            f"{counted(batch_plan.untracked, 'track')} skipped, because untracked files with the "
            "names of the stems exist; --overwrite replaces them"
        )
    if batch_plan.earlier_outputs:
        files = counted(batch_plan.earlier_outputs, "file")
        yield f"{files} ignored, written by an earlier run"


def recovery_note(recovery: Recovery) -> str:
    """Return what recovery did after the last run; empty if nothing."""
    published, dropped, stuck = recovery.published, recovery.dropped, recovery.stuck
    parts = [f"{counted(published, 'track')} published now"] if published else []
    parts += [f"{counted(dropped, 'track')} to be separated again"] if dropped else []
    parts += [f"{counted(stuck, 'track')} still only partly published"] if stuck else []
    return f"the last run did not finish cleanly: {', '.join(parts)}" if parts else ""


def _names(paths: Iterable[Path], limit: int = 5) -> str:
    """Return the names of files or folders, most frequent first, at most `limit`."""
    return _format_most_frequent(Counter(path.name for path in paths), limit)


def _extensions(paths: Iterable[Path], limit: int = 8) -> str:
    """Return the extensions of files with their counts, most frequent first, at most `limit`."""
    counts = Counter(path.suffix.lower() or "none" for path in paths)
    labels = Counter({f"{extension} {count}": count for extension, count in counts.items()})
    return _format_most_frequent(labels, limit)


def _format_most_frequent(counts: Counter[str], limit: int) -> str:
    ordered = sorted(counts, key=lambda label: (-counts[label], label))
    more = [f"{len(ordered) - limit} more"] if len(ordered) > limit else []
    return ", ".join([*ordered[:limit], *more])
