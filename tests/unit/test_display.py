"""Progress as lines of text, and as bars at every width of the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from stemsplit.batch.events import BatchProgress, BatchStarted, TrackDone, TrackFailed
from stemsplit.cli.display.bars import Screen, ScreenState
from stemsplit.cli.display.text_display import TextDisplay
from stemsplit.core.progress import RunningTrack, Status, Step

MIB = 2**20


def _status(children: int = 1, **more: object) -> Status:
    values: dict[str, object] = {
        "pid": 1,
        "updated": 0.0,
        "seconds": 60.0,
        "done": 24,
        "failed": 1,
        "left": 15,
        "audio_seconds": 3730.0,
        "audio_seconds_left": 2270.0,
        "speed": 51.3,
        "seconds_left": 44.2,
        "memory_bytes": 770 * MIB,
        "max_ram_bytes": 4096 * MIB,
        "running": tuple(
            RunningTrack(
                source=f"/music/track {number} with a rather long name.flac",
                attempt=2,
                step=Step.WORKING,
                seconds=3.0,
                audio_seconds=30.0,
                total_seconds=120.0,
                memory_bytes=310 * MIB,
                ram_cap_bytes=520 * MIB,
            )
            for number in range(children)
        ),
    }
    return Status(**(values | more))  # type: ignore[arg-type]


def test_without_bars_progress_is_one_line_per_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first line comes after a minute, and no line contains an escape sequence."""
    now = [100.0]
    with TextDisplay(quiet=False, verbose=False, clock=lambda: now[0]) as display:
        display.show(BatchStarted(version="0", tracks=40, model="2stems", output="/out"))
        for _ in range(130):
            display.show(BatchProgress(status=_status()))
            now[0] += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "25 of 40 tracks, 1:02:10 of 1:40:00, 0:44 to go, 51.3 times real time, done around "
    )
    assert lines[0].endswith(", memory 770 of 4,096 MiB")


def test_quiet_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """Only failures are shown."""
    now = [0.0]
    with TextDisplay(quiet=True, verbose=False, clock=lambda: now[0]) as display:
        for _ in range(130):
            display.show(BatchProgress(status=_status()))
            now[0] += 1.0
        display.show(TrackFailed(source="a.mp3", reason="bad_input", message="No.", remedy="Do."))
    assert capsys.readouterr().err == "[1/0] failed: a.mp3: No. Do.\n"


def _done(*warnings: str, kind: str = "note") -> TrackDone:
    return TrackDone(
        source="/music/a.flac",
        destination="/out/a",
        stems=(),
        warnings=warnings,
        warning_kinds=(kind,) * len(warnings),
        audio_seconds=1.0,
        seconds=1.0,
        attempts=1,
        peak_memory_bytes=None,
        peak_rss_bytes=None,
    )


def test_similar_notes_are_shown_five_times(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Notes are similar if they differ only in names and numbers; damage is always shown."""
    with TextDisplay(quiet=False, verbose=False) as display:
        for number in range(1000):
            display.show(
                _done(f"“{number} a.flac”: all files were turned down by {number / 10} dB.")
            )
        display.show(_done("“b.flac”: its cover was left out."))
        for _ in range(10):
            display.show(_done("“c.flac” lacks 1.0 s.", kind="damaged"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 + 1 + 10
    assert lines[4] == "note: “4 a.flac”: all files were turned down by 0.4 dB."
    assert lines[5] == "note: “b.flac”: its cover was left out."
    assert lines[6:] == ["damaged: “c.flac” lacks 1.0 s."] * 10


def _drawn(state: ScreenState, *, columns: int, rows: int = 24) -> list[str]:
    """Return the lines that the screen draws on a console."""
    console = Console(
        file=io.StringIO(), width=columns, height=rows, force_terminal=True, soft_wrap=True
    )
    with console.capture() as captured:
        console.print(Screen(console, state)._picture())
    text = re.sub(r"\x1b\[[\d;]*m", "", captured.get())
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("columns", [8, 20, 40, 44, 60, 72, 80, 132, 250])
def test_bars_are_narrower_than_the_terminal(columns: int) -> None:
    """Echoed keys have room at the end; a part that does not fit is omitted, not wrapped."""
    lines = _drawn(ScreenState(status=_status(children=3)), columns=columns)
    assert len(lines) == 2 + 3
    assert max(len(line) for line in lines) <= max(columns - 4, 1)
    if columns >= 80:
        assert lines[1].lstrip().startswith("62%  25 of 40 tracks, 1:02:10 of 1:40:00, 0:44 to go")
        assert lines[2].endswith("25% 310 of 520 MiB")


def test_children_that_do_not_fit_the_window_are_counted() -> None:
    """The output is not taller than the window."""
    lines = _drawn(ScreenState(status=_status(children=64)), columns=80, rows=12)
    assert len(lines) <= 12
    assert lines[-1].strip() == "and 58 more"


def test_the_last_lines_show_failures_pauses_and_draining() -> None:
    """They stay visible below the bars."""
    state = ScreenState(
        status=_status(pausing="the laptop runs on its battery"),
        failed=2,
        last_failure="a\x1b[31m.mp3: It is empty.",
        draining=True,
    )
    lines = _drawn(state, columns=100)
    assert lines[-3].strip() == r"2 failed, last a\x1b[31m.mp3: It is empty."
    assert lines[-2].strip() == "the laptop runs on its battery"
    assert lines[-1].strip().endswith("press Ctrl-C again to stop now")


def test_a_narrow_window_shows_the_full_instruction() -> None:
    """It is wrapped to lines that are narrower than the window."""
    lines = _drawn(ScreenState(status=_status(), draining=True), columns=40)
    assert " ".join(" ".join(lines[3:]).split()).endswith("press Ctrl-C again to stop now")
    assert max(map(len, lines)) <= 36


def test_an_ended_track_is_not_drawn() -> None:
    """It disappears before the next status arrives."""
    state = ScreenState(status=_status(children=2))
    state.ended.add("/music/track 0 with a rather long name.flac")
    assert len(_drawn(state, columns=80)) == 2 + 1


def test_a_quick_scan_of_the_inputs_is_not_drawn() -> None:
    """Only a longer scan shows its duration."""
    now = [0.0]
    screen = Screen(Console(file=io.StringIO()), ScreenState(), clock=lambda: now[0])
    lines = Console(width=80).render_lines(screen._picture(), pad=False)
    assert not any(part.text.strip() for line in lines for part in line)
    now[0] = 75.0
    assert str(screen._picture()) == "scanning the inputs, 1:15"
