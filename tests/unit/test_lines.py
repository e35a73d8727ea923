"""Progress in lines, and in bars for every width of a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from stemsplit.batch.events import BatchProgress, BatchStarted, TrackDone, TrackFailed
from stemsplit.cli.display.bars import Screen, Shown
from stemsplit.cli.display.text import TextDisplay
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
                source=f"/music/track {number} of a rather long name.flac",
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


def test_where_no_bars_can_be_drawn_a_line_a_minute_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not before the first minute is over, and without one escape sequence."""
    now = [100.0]
    with TextDisplay(quiet=False, verbose=False, clock=lambda: now[0]) as display:
        display.show(BatchStarted(version="0", tracks=40, model="2stems", output="/out"))
        for _ in range(130):
            display.show(BatchProgress(status=_status()))
            now[0] += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "25 of 40 tracks, 1:02:10 of 1:40:00, 0:44 to go, 51.3 times real time, until about "
    )
    assert lines[0].endswith(", memory 770 of 4,096 MiB")


def test_quiet_says_nothing_of_that(capsys: pytest.CaptureFixture[str]) -> None:
    """Failures alone."""
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


def test_notes_are_told_apart_by_more_than_names_and_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A thousand of one sort hide no other sort, and no damage."""
    with TextDisplay(quiet=False, verbose=False) as display:
        for number in range(1000):
            display.show(_done(f"“{number} a.flac”: it was made {number / 10} dB quieter."))
        display.show(_done("“b.flac”: its cover was left out."))
        for _ in range(10):
            display.show(_done("“c.flac” lacks 1.0 s.", kind="damaged"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 + 1 + 10
    assert lines[4] == "note: “4 a.flac”: it was made 0.4 dB quieter."
    assert lines[5] == "note: “b.flac”: its cover was left out."
    assert lines[6:] == ["damaged: “c.flac” lacks 1.0 s."] * 10


def _drawn(shown: Shown, *, columns: int, rows: int = 24) -> list[str]:
    """Draw on a console as the display has it."""
    console = Console(
        file=io.StringIO(), width=columns, height=rows, force_terminal=True, soft_wrap=True
    )
    with console.capture() as captured:
        console.print(Screen(console, shown)._picture())
    text = re.sub(r"\x1b\[[\d;]*m", "", captured.get())
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("columns", [8, 20, 40, 44, 60, 72, 80, 132, 250])
def test_bars_are_never_as_wide_as_the_terminal(columns: int) -> None:
    """Room is left for what a terminal echoes; what has none is left out, never broken in two."""
    shown = Shown(status=_status(children=3))
    lines = _drawn(shown, columns=columns)
    assert len(lines) == 2 + 3
    assert max(len(line) for line in lines) <= max(columns - 4, 1)
    if columns >= 80:
        assert lines[1].lstrip().startswith("62%  25 of 40 tracks, 1:02:10 of 1:40:00, 0:44 to go")
        assert lines[2].endswith("25% 310 of 520 MiB")


def test_more_children_than_lines() -> None:
    """The window is not overrun."""
    lines = _drawn(Shown(status=_status(children=64)), columns=80, rows=12)
    assert len(lines) <= 12
    assert lines[-1].strip() == "and 58 more"


def test_what_must_not_scroll_away() -> None:
    """The last failure, why nothing is started, and that Ctrl-C was heard."""
    shown = Shown(
        status=_status(pausing="the laptop runs on its battery"),
        failed=2,
        last_failure="a\x1b[31m.mp3: It is empty.",
        draining=True,
    )
    lines = _drawn(shown, columns=100)
    assert lines[-3].strip() == r"2 failed, last a\x1b[31m.mp3: It is empty."
    assert lines[-2].strip() == "the laptop runs on its battery"
    assert lines[-1].strip().endswith("press Ctrl-C again to stop now")


def test_a_narrow_window_has_the_whole_of_what_to_do() -> None:
    """Over several lines, none of them as wide as the window."""
    lines = _drawn(Shown(status=_status(), draining=True), columns=40)
    assert " ".join("".join(lines[3:]).split()).endswith("press Ctrl-C again to stop now")
    assert max(map(len, lines)) <= 36


def test_a_track_that_has_ended_is_not_drawn_any_more() -> None:
    """Also before the next second has told so."""
    shown = Shown(status=_status(children=2))
    shown.ended.add("/music/track 0 of a rather long name.flac")
    assert len(_drawn(shown, columns=80)) == 2 + 1


def test_a_quick_look_through_the_inputs_is_not_drawn() -> None:
    """Only one that takes its time."""
    now = [0.0]
    screen = Screen(Console(file=io.StringIO()), Shown(), clock=lambda: now[0])
    lines = Console(width=80).render_lines(screen._picture(), pad=False)
    assert not any(part.text.strip() for line in lines for part in line)
    now[0] = 75.0
    assert str(screen._picture()) == "looking through the inputs, 1:15"
