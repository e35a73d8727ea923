"""`stemsplit report`: in the terminal, into a file, and over nobody's file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from report_page import make_journal

from stemsplit.journal import history
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder with the journal of a hundred tracks."""
    make_journal(tmp_path / "stems", 100)
    return tmp_path / "stems"


def test_a_line_for_each_track_and_each_failure(
    output: Path, stemsplit: Callable[..., Any]
) -> None:
    """With the whole path, and not folded where it goes into a pipe."""
    ran = stemsplit("report", output, COLUMNS="40")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["state", "audio", "time", "speed", "memory", "cap", "track"]
    done = next(line for line in lines if line.endswith("album 8/00099 some song.flac"))
    assert done.split()[:7] == ["done", "4:00", "0:08", "30.4x", "310", "MiB", "644"]
    assert sum(line.startswith("stalled ") for line in lines) == 2
    failed = [line for line in lines if line.startswith("failed: ")]
    assert len(failed) == 2
    assert failed[0].endswith("Its log shows where it stood. (stalled)")
    assert "exit code 3" in ran.out


@pytest.mark.parametrize("target", ["song.wav", ".stemsplit/journal.sqlite3", "notes.html"])
def test_nobody_s_file_is_replaced(
    target: str, output: Path, stemsplit: Callable[..., Any]
) -> None:
    """Not a stem, not the journal, not somebody's own page; and not through a link."""
    path = output / target
    if not path.exists():
        path.write_bytes(b"<html>mine</html>")
    before = path.read_bytes()
    (output / "link.html").symlink_to(path)
    for name in (path, output / "link.html"):
        ran = stemsplit("report", output, "--html", name)
        assert ran.code == 1
        assert "is there and is no page of stemsplit's" in ran.err
    assert path.read_bytes() == before
    assert (output / "link.html").is_symlink()


def test_an_earlier_page_is_replaced_and_folders_are_made(
    output: Path, stemsplit: Callable[..., Any]
) -> None:
    """In one step; nothing else is left."""
    page = output / "pages" / "report.html"
    for _ in range(2):
        assert stemsplit("report", output, "--html", page).code == 0
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    told = stemsplit("report", output, "--html", "-").out
    assert told.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("target", "says"),
    [("stems", "is a folder"), ("stems/.stemsplit/lock/x.html", "cannot be written"),
     ("/dev/full", "is no page of stemsplit's")],
)  # fmt: skip
def test_where_no_page_can_be(
    target: str, says: str, output: Path, stemsplit: Callable[..., Any]
) -> None:
    """One sentence, exit code 1."""
    (OutputLayout(output).lock).touch()
    ran = stemsplit("report", output, "--html", target)
    assert ran.code == 1
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_journal_without_a_run(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """As it is while the first run looks through its inputs, or if it was killed then."""
    state = OutputLayout(tmp_path / "stems")
    state.folder.mkdir(parents=True)
    Journal(state.journal, state.output).__exit__()
    for options in ((), ("--html", "page.html")):
        ran = stemsplit("report", "stems", *options)
        assert ran.code == 2
        assert "Nothing was separated into" in ran.err
    assert not (tmp_path / "page.html").exists()


def test_a_run_that_was_killed(output: Path, stemsplit: Callable[..., Any]) -> None:
    """It has no end, and neither has its last child."""
    with closing(sqlite3.connect(OutputLayout(output).journal)) as database, database:
        database.execute("UPDATE runs SET ended = NULL, seconds = NULL, exit_code = NULL")
        database.execute("UPDATE attempts SET seconds = NULL, reason = NULL WHERE id = 100")
    assert "has no end yet, or was killed" in stemsplit("report", output).out
    assert stemsplit("report", output, "--html", "page.html").code == 0


def test_a_report_does_not_hold_up_the_run_that_it_is_about(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads one state in one go, and makes something of it when the journal is free again."""
    makes_tracks = history._tracks

    with Journal(OutputLayout(output).journal, output) as journal:

        def while_a_run_writes(rows: history._Rows) -> Iterator[history.PastTrack]:
            journal.pool_starts(1)
            return makes_tracks(rows)

        monkeypatch.setattr(history, "_tracks", while_a_run_writes)
        assert len(history.read_history(output).tracks) == 100
