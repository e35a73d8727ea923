"""Runs in the supervisor. The history of an output folder as one HTML file that needs nothing else.

The page is a fixed text with the history in it as JSON, which its script puts on the screen as text
and never as markup: nothing in a file's name can become part of the page. A content security
policy holds on top of that; it allows the page's own script, and no connection anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from stemsplit.core.text import printable
from stemsplit.journal.layout import OutputLayout
from stemsplit.report.timeline_lanes import lanes_of
from stemsplit.storage.remote import address_of, is_remote
from stemsplit.storage.untrusted import is_name
from stemsplit.supervisor.attempt_logs import end_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.core.time_series import TimeSeries
    from stemsplit.journal.history import History, PastAttempt, PastRun, PastTrack

_MIB = 2**20

_LOG_BYTES = 8_192
"""Of the end of a log: enough for a traceback and the supervisor's account."""

_ALL_LOGS_BYTES = 4 * _MIB
"""Of all logs in a page together; further ones are only named."""


def page(history: History, folder: Path, *, made: float, version: str) -> str:
    """Write the page.

    Args:
        history: of the output folder.
        folder: where the page will be; stems are linked from there, by relative paths where the
            system has them.
        made: now, in seconds since 1970.
        version: of stemsplit.
    """
    told = {"version": version, "made": round(made), **_data(history, folder)}
    data = msgspec.json.encode(told).decode()
    script = "\n".join((_asset("uPlot.iife.min.js"), _asset("page.js")))
    style = "\n".join((_asset("uPlot.min.css"), _asset("page.css")))
    parts = {
        "policy": _policy(script, style),
        "style": style,
        "script": script,
        # `<` could end the element that the data are in; JSON has no other use for it than text.
        "data": data.replace("<", r"\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (resources.files("stemsplit.report") / "assets" / name).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "media-src 'self' file:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _data(history: History, folder: Path) -> dict[str, Any]:
    """Give what the script of the page reads; sizes in MiB, to keep it small."""
    places = _Places(history.output, folder)
    logs = _Logs(OutputLayout(history.output).logs, places)
    engines = history.engines()
    number_of = {run.number: index for index, run in enumerate(history.runs)}
    lanes = lanes_of(attempt for track in history.tracks for attempt in track.attempts)
    return {
        "output": printable(history.output),
        "refused": history.refused,
        "runs": [_run(run, engines[run.number]) for run in history.runs],
        "tracks": [_track(track, number_of, lanes, places, logs) for track in history.tracks],
    }


def _run(run: PastRun, engines: Sequence[str]) -> dict[str, Any]:
    return {
        "began": round(run.began, 3),
        "ended": run.ended,
        "what": run.settings.what,
        "model": run.settings.model,
        "engine": " and ".join(engines),
        "format": run.settings.format,
        "exit": run.exit_code,
        "seconds": run.seconds,
        "audio": run.audio_seconds,
        "peak": _mib(run.peak_memory_bytes),
        "budget": _mib(run.max_ram_bytes),
        "memory": _memory(run.memory),
    }


def _track(
    track: PastTrack,
    number_of: dict[int, int],
    lanes: dict[int, int],
    places: _Places,
    logs: _Logs,
) -> dict[str, Any]:
    folder, name = os.path.split(track.source)
    told: dict[str, Any] = {
        "name": printable(name),
        "folder": printable(folder),
        "state": track.state,
        "audio": None if track.audio_seconds is None else round(track.audio_seconds, 2),
        "stems": [
            [
                printable(stem.stem),
                places.link(stem.path),
                base64.b64encode(stem.waveform_overview).decode(),
            ]
            for stem in track.stems
        ],
        "attempts": [_attempt(one, number_of, lanes) for one in track.attempts],
    }
    if track.warnings:
        told["warnings"] = [[one.kind, one.text] for one in track.warnings]
    if track.state == "failed":
        told |= {"reason": track.reason, "message": track.message, "remedy": track.remedy}
        told |= logs.last_of(track.attempts)
    return told


def _attempt(one: PastAttempt, number_of: dict[int, int], lanes: dict[int, int]) -> list[Any]:
    """Give run, lane, beginning, duration, reason, peak, cap, memory."""
    return [
        number_of[one.run],
        lanes[one.id],
        round(one.began, 2),
        None if one.seconds is None else round(one.seconds, 2),
        one.reason,
        _mib(one.peak_pss_bytes),
        _mib(one.ram_cap_bytes),
        _memory(one.memory),
    ]


def _mib(size: float | None) -> int | None:
    return None if size is None else round(size / _MIB)


def _memory(curve: TimeSeries | None) -> list[Any] | None:
    return None if curve is None else [curve.step, [_mib(value) for value in curve.values]]


class _Places:
    """Links from the page to files below the output folder."""

    def __init__(self, output: Path, folder: Path) -> None:
        self._output = output
        self._way: bytes | None = None
        with contextlib.suppress(ValueError):  # another drive of Windows
            self._way = os.fsencode(os.path.relpath(output, folder))

    def link(self, path: bytes) -> str:
        """Give the address of a file, relative to the page if there is a way from it."""
        if is_remote(self._output):
            return address_of(self._output / os.fsdecode(path))
        if self._way is None:
            return (self._output / os.fsdecode(path)).as_uri()
        separator = os.fsencode(os.sep)
        return "./" + quote(separator.join((self._way, path)).replace(separator, b"/"))


class _Logs:
    """The ends of logs, as many as a page can bear."""

    def __init__(self, folder: Path, places: _Places) -> None:
        self._folder = folder
        self._places = places
        self._left = _ALL_LOGS_BYTES

    def last_of(self, attempts: Sequence[PastAttempt]) -> dict[str, str]:
        """Give the end of the last attempt's log and its address; empty if none was kept."""
        names = [Path(one.log_file).name for one in attempts if one.log_file is not None]
        if not names:
            return {}
        path = self._folder / names[-1]  # the folder may have been moved since
        if not is_name(os.fsencode(names[-1])) or path.is_symlink() or not path.is_file():
            return {}  # somebody has tidied up, or put something else there
        try:
            text = end_of(path, min(_LOG_BYTES, self._left))
        except OSError:
            return {}
        self._left -= len(text.encode())
        below = os.fsencode(Path(".stemsplit", "logs", names[-1]))
        lines = map(printable, text.splitlines())
        return {"log": "\n".join(lines), "log_link": self._places.link(below)}
