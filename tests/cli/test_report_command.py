"""`stemsplit report`: as text and as a page, which replaces no other file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from report_page import make_journal

from stemsplit.journal import history_reader
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.writer import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stemsplit.journal.history import PastTrack


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An output folder with the journal of a hundred tracks."""
    make_journal(tmp_path / "stems", 100)
    return tmp_path / "stems"


def test_a_line_for_each_track_and_each_failure(
    output: Path, stemsplit: Callable[..., Any]
) -> None:
    """Lines have the full path, and are not wrapped in a pipe."""
    result = stemsplit("report", output, COLUMNS="40")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["state", "audio", "time", "speed", "memory", "cap", "track"]
    done = next(line for line in lines if line.endswith("album 8/00099 some song.flac"))
    assert done.split()[:7] == ["done", "4:00", "0:08", "30.4x", "310", "MiB", "644"]
    assert sum(line.startswith("stalled ") for line in lines) == 2
    failed = [line for line in lines if line.startswith("failed: ")]
    assert len(failed) == 2
    assert failed[0].endswith("Its log shows where it hung. (stalled)")
    assert "exit code 3" in result.out


@pytest.mark.parametrize("target", ["song.wav", ".stemsplit/journal.sqlite3", "notes.html"])
def test_other_files_are_never_replaced(
    target: str, output: Path, stemsplit: Callable[..., Any]
) -> None:
    """Stems, the journal and pages of other programs are kept, also behind a link."""
    path = output / target
    if not path.exists():
        path.write_bytes(b"<html>mine</html>")
    before = path.read_bytes()
    (output / "link.html").symlink_to(path)
    for name in (path, output / "link.html"):
        result = stemsplit("report", output, "--html", name)
        assert result.code == 1
        assert "exists and is not a stemsplit report" in result.err
    assert path.read_bytes() == before
    assert (output / "link.html").is_symlink()


def test_an_earlier_page_is_replaced_and_folders_are_created(
    output: Path, stemsplit: Callable[..., Any]
) -> None:
    """No temporary file is left."""
    page = output / "pages" / "report.html"
    for _ in range(2):
        assert stemsplit("report", output, "--html", page).code == 0
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]
    printed = stemsplit("report", output, "--html", "-").out
    assert printed.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("target", "message"),
    [("stems", "is a folder"), ("stems/.stemsplit/lock/x.html", "cannot be written"),
     ("/dev/full", "is not a stemsplit report")],
)  # fmt: skip
def test_an_unwritable_page_is_an_error(
    target: str, message: str, output: Path, stemsplit: Callable[..., Any]
) -> None:
    """The error is one sentence, and the exit code is 1."""
    (OutputLayout(output).lock).touch()
    result = stemsplit("report", output, "--html", target)
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_a_journal_without_a_run(tmp_path: Path, stemsplit: Callable[..., Any]) -> None:
    """The first run is still scanning its inputs, or was killed then."""
    state = OutputLayout(tmp_path / "stems")
    state.folder.mkdir(parents=True)
    Journal(state.journal, state.output).__exit__()
    for options in ((), ("--html", "page.html")):
        result = stemsplit("report", "stems", *options)
        assert result.code == 2
        assert "Nothing has been separated into" in result.err
    assert not (tmp_path / "page.html").exists()


def test_a_killed_run(output: Path, stemsplit: Callable[..., Any]) -> None:
    """Neither the run nor its last child has an end."""
    with closing(sqlite3.connect(OutputLayout(output).journal)) as database, database:
        database.execute("UPDATE runs SET ended = NULL, seconds = NULL, exit_code = NULL")
        database.execute("UPDATE attempts SET seconds = NULL, reason = NULL WHERE id = 100")
    assert "still running, or killed" in stemsplit("report", output).out
    assert stemsplit("report", output, "--html", "page.html").code == 0


def test_a_report_does_not_block_a_running_batch(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads a snapshot, and processes it after it has released the journal."""
    original = history_reader._tracks

    with Journal(OutputLayout(output).journal, output) as journal:

        def tracks_during_a_write(rows: history_reader._Rows) -> Iterator[PastTrack]:
            journal.record_memory_budget(1)
            return original(rows)

        monkeypatch.setattr(history_reader, "_tracks", tracks_during_a_write)
        assert len(history_reader.read_history(output).tracks) == 100
