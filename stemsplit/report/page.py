"""Runs in the supervisor. Renders the history of an output folder as a self-contained HTML file.

The page is a template that contains the history as JSON. Its script displays the data only as text,
never as markup, so a file name cannot inject elements. In addition, a content security policy
allows only the page's own script and style, and no network connections.
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
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.report.timeline_lanes import lanes_of
from stemsplit.storage.safe_paths import is_name
from stemsplit.storage.urls import is_remote, url_of
from stemsplit.supervisor.attempt_logs import read_end

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stemsplit.core.time_series import TimeSeries
    from stemsplit.journal.history import History, PastAttempt, PastRun, PastTrack

_MIB = 2**20

_SCRIPTS = ("common.js", "player.js", "timeline.js", "page.js")
"""Scripts of the page in order; joined, they are the body of one function."""

_LOG_BYTES = 8_192
"""Size of the end of a log: enough for a traceback and the events recorded by the supervisor."""

_ALL_LOGS_BYTES = 4 * _MIB
"""Total size of all logs in a page; further logs are only linked."""


def render_page(history: History, folder: Path, *, created: float, version: str) -> str:
    """Return the HTML of the page.

    Args:
        history: the history of the output folder.
        folder: folder of the page; links to stems are relative to it, unless they are on another
            drive.
        created: current time in seconds since 1970.
        version: version of stemsplit.
    """
    values = {"version": version, "made": round(created), **_data(history, folder)}
    data = msgspec.json.encode(values).decode()
    body = "\n".join(map(_asset, _SCRIPTS))
    script = f'{_asset("uPlot.iife.min.js")}\n(() => {{\n"use strict";\n{body}}})();\n'
    style = "\n".join((_asset("uPlot.min.css"), _asset("page.css")))
    parts = {
        "policy": _policy(script, style),
        "style": style,
        "script": script,
        # `<` could end the element that contains the data; JSON has it only in strings.
        "data": data.replace("<", r"\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


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
    """Return the data for the page's script; sizes are in MiB to keep the page small."""
    links = _Links(history.output, folder)
    logs = _LogEnds(OutputLayout(history.output).logs, links)
    engines = history.engines()
    run_index = {run.number: index for index, run in enumerate(history.runs)}
    lanes = lanes_of(attempt for track in history.tracks for attempt in track.attempts)
    return {
        "output": printable(history.output),
        "refused": history.refused,
        "runs": [_run(run, engines[run.number]) for run in history.runs],
        "tracks": [_track(track, run_index, lanes, links, logs) for track in history.tracks],
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
    run_index: dict[int, int],
    lanes: dict[int, int],
    links: _Links,
    logs: _LogEnds,
) -> dict[str, Any]:
    folder, name = os.path.split(track.source)
    data: dict[str, Any] = {
        "name": printable(name),
        "folder": printable(folder),
        "state": track.state,
        "audio": None if track.audio_seconds is None else round(track.audio_seconds, 2),
        "stems": [
            [
                printable(stem.stem),
                links.to(stem.path),
                base64.b64encode(stem.waveform_overview).decode(),
            ]
            for stem in track.stems
        ],
        "attempts": [_attempt(attempt, run_index, lanes) for attempt in track.attempts],
    }
    if track.warnings:
        data["warnings"] = [[warning.kind, warning.text] for warning in track.warnings]
    if track.state == "failed":
        data |= {"reason": track.reason, "message": track.message, "remedy": track.remedy}
        data |= logs.last_of(track.attempts)
    return data


def _attempt(attempt: PastAttempt, run_index: dict[int, int], lanes: dict[int, int]) -> list[Any]:
    """Return run, lane, start, duration, reason, peak memory, memory cap and memory over time."""
    return [
        run_index[attempt.run],
        lanes[attempt.id],
        round(attempt.began, 2),
        None if attempt.seconds is None else round(attempt.seconds, 2),
        attempt.reason,
        _mib(attempt.peak_pss_bytes),
        _mib(attempt.ram_cap_bytes),
        _memory(attempt.memory),
    ]


def _mib(size: float | None) -> int | None:
    return None if size is None else round(size / _MIB)


def _memory(series: TimeSeries | None) -> list[Any] | None:
    return None if series is None else [series.step, [_mib(value) for value in series.values]]


class _Links:
    """Links from the page to files below the output folder."""

    def __init__(self, output: Path, folder: Path) -> None:
        self._output = output
        self._relative: bytes | None = None
        with contextlib.suppress(ValueError):  # another drive on Windows
            self._relative = os.fsencode(os.path.relpath(output, folder))

    def to(self, path: bytes) -> str:
        """Return the URL of a file, relative to the page if possible."""
        if is_remote(self._output):
            return url_of(self._output / os.fsdecode(path))
        if self._relative is None:
            return (self._output / os.fsdecode(path)).as_uri()
        separator = os.fsencode(os.sep)
        return "./" + quote(separator.join((self._relative, path)).replace(separator, b"/"))


class _LogEnds:
    """The ends of logs, up to a total size."""

    def __init__(self, folder: Path, links: _Links) -> None:
        self._folder = folder
        self._links = links
        self._remaining_bytes = _ALL_LOGS_BYTES

    def last_of(self, attempts: Sequence[PastAttempt]) -> dict[str, str]:
        """Return the end of the last log of a track and its URL; empty if no log exists."""
        names = [Path(item.log_file).name for item in attempts if item.log_file is not None]
        if not names:
            return {}
        path = self._folder / names[-1]  # the folder may have been moved since
        if not is_name(os.fsencode(names[-1])) or path.is_symlink() or not path.is_file():
            return {}  # it was removed or replaced since
        try:
            text = read_end(path, min(_LOG_BYTES, self._remaining_bytes))
        except OSError:
            return {}
        self._remaining_bytes -= len(text.encode())
        relative_path = os.fsencode(Path(".stemsplit", "logs", names[-1]))
        lines = map(printable, text.splitlines())
        return {"log": "\n".join(lines), "log_link": self._links.to(relative_path)}
