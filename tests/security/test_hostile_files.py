"""Manipulated files that stemsplit reads: settings, models, parts of a journal."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from common import COMMAND

from stemsplit.journal.output_layout import OutputLayout

resource = pytest.importorskip("resource")

if TYPE_CHECKING:
    from collections.abc import Callable

    from installed_command import CommandResult

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The settings file of the current folder."""
    return tmp_path / "stemsplit.toml"


def test_a_pipe_device_or_huge_file_is_refused_as_settings(
    settings: Path, stemsplit: Callable[..., CommandResult]
) -> None:
    """Reading the pipe would block, and the device has no end."""
    os.mkfifo(settings)
    result = stemsplit("separate", "song.wav", "-o", "out")
    assert result.code == 2
    assert "stemsplit.toml” cannot be read (it is not a regular file)" in result.err
    settings.unlink()
    settings.symlink_to("/dev/zero")
    assert "it is not a regular file" in stemsplit("separate", "song.wav", "-o", "out").err
    settings.unlink()
    with settings.open("wb") as file:
        file.truncate(2**36)
    assert "larger than" in stemsplit("config", "separate").err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('engine = "my_engine:load"', "Unknown engine “my_engine:load”"),
        ('cluster = "10.0.0.1:6379"', "could run code on this machine"),
        ('cluster = "auto"', "could run code on this machine"),
    ],
)
def test_settings_of_the_current_folder_cannot_run_code(
    settings: Path, tmp_path: Path, stemsplit: Callable[..., CommandResult], line: str, message: str
) -> None:
    """They can set neither an engine nor a cluster; the user's own file can set a cluster."""
    settings.write_text(f"[separate]\n{line}\n")
    result = stemsplit("separate", "song.wav", "-o", "out")
    assert result.code == 2
    assert message in result.err
    if "cluster" not in line:
        return
    own = tmp_path / "config" / "stemsplit"
    own.mkdir(parents=True)
    settings.rename(own / "stemsplit.toml")
    result = stemsplit("config", "separate", XDG_CONFIG_HOME=str(own.parent))
    assert result.code == 0
    assert str(own) in result.out


def _import(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Import a model with 1 GiB of address space in addition to what Python needs."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))

    return subprocess.run(
        [COMMAND, "models", "import", "2stems", source],
        env=os.environ | {"STEMSPLIT_MODELS": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )


def test_devices_and_pipes_are_refused_as_models(tmp_path: Path) -> None:
    """Reading them would fill the memory or block."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "model.tar.gz"
    link.symlink_to("/dev/zero")
    for source in (Path("/dev/zero"), Path("/dev/stdin"), pipe, link):
        completed = _import(source, tmp_path / "models")
        assert completed.returncode == 1
        assert "is neither a file nor a folder" in completed.stderr


def _tar_header(entry_type: bytes, size: int) -> bytes:
    """Return a tar header that declares a file, a long name or attributes of this size."""
    header = tarfile.TarInfo("x")
    header.type, header.size = entry_type, size
    return header.tobuf()


@pytest.mark.parametrize("entry_type", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_a_decompression_bomb_is_refused(tmp_path: Path, entry_type: bytes) -> None:
    """A few MB of gzip contain 4 GiB of zeros."""
    archive = tmp_path / "bomb.tar.gz"
    zeros = bytes(2**24)
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(_tar_header(entry_type, 2**32))
        for _ in range(2**32 // len(zeros) if entry_type == tarfile.REGTYPE else 8):
            file.write(zeros)
    completed = _import(archive, tmp_path / "models")
    assert completed.returncode == 1
    assert "is larger than any model" in completed.stderr, completed.stderr


def test_an_archive_with_too_many_files_is_refused(tmp_path: Path) -> None:
    """Each entry would stay in memory."""
    archive = tmp_path / "many.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(1_500):
            tar.addfile(tarfile.TarInfo(str(number)))
    archive.write_bytes(gzip.compress(buffer.getvalue()))
    assert "is larger than any model" in _import(archive, tmp_path / "models").stderr


def test_a_folder_with_a_huge_file_is_refused(tmp_path: Path) -> None:
    """A file that is larger than any model is not copied."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "model.data-00000-of-00001").open("wb") as file:
        file.truncate(2**40)
    completed = _import(source, tmp_path / "models")
    assert "is larger than any model" in completed.stderr


def test_an_endless_input_list_is_refused(stemsplit: Callable[..., CommandResult]) -> None:
    """A device would fill the memory."""
    result = stemsplit("separate", "--from-file", "/dev/zero", "-o", "out")
    assert result.code == 2
    assert "is too large for a list" in result.err


@pytest.fixture
def journal(stemsplit: Callable[..., CommandResult], song_file: Path, tmp_path: Path) -> Path:
    """The journal of an output folder with one track."""
    result = stemsplit("convert", song_file, "-o", "out", "--format", "flac")
    assert result.code == 0, result.err
    return OutputLayout(tmp_path / "out").journal


def _rollback_journal(victim: Path) -> bytes:
    """Return the rollback journal of a write to two databases; it names their super-journal."""
    page, sector = 4_096, 512
    header = bytes.fromhex("d9d505f920a163d7") + bytes(8)  # no pages to restore
    header += (1).to_bytes(4, "big") + sector.to_bytes(4, "big") + page.to_bytes(4, "big")
    victim_name = os.fsencode(victim)
    lock_page = 2**30 // page + 1
    return (
        header.ljust(sector, b"\0")
        + lock_page.to_bytes(4, "big")
        + victim_name
        + len(victim_name).to_bytes(4, "big")
        + sum(victim_name).to_bytes(4, "big")
        + bytes.fromhex("d9d505f920a163d7")
    )


def test_a_rollback_journal_removes_no_other_file(
    journal: Path, tmp_path: Path, stemsplit: Callable[..., CommandResult]
) -> None:
    """SQLite would remove the file that it names, wherever the file is."""
    victim = tmp_path / "precious"
    victim.write_bytes(b"precious")
    rollback = journal.with_name(f"{journal.name}-journal")
    rollback.write_bytes(_rollback_journal(victim))
    copy = tmp_path / "copy.sqlite3"
    shutil.copy(journal, copy)
    shutil.copy(rollback, tmp_path / "copy.sqlite3-journal")
    for command in (("status", "out"), ("report", "out"), ("convert", "song.wav", "-o", "out")):
        result = stemsplit(*command)
        assert result.code == 1
        assert "names another file" in result.err
    assert victim.exists()
    # SQLite itself removes the file, so the check is needed.
    with closing(sqlite3.connect(copy)) as db, suppress(sqlite3.Error):
        db.execute("SELECT count(*) FROM jobs").fetchone()
    assert not victim.exists()


@pytest.mark.parametrize("name", ["status.new", "holder.json", "lock", "summary.json", "logs"])
def test_nothing_is_written_through_a_link(
    journal: Path,
    tmp_path: Path,
    stemsplit: Callable[..., CommandResult],
    song_file: Path,
    name: str,
) -> None:
    """A link that points outside the output folder is named, and the run is refused."""
    victim = tmp_path / "precious"
    victim.write_bytes(b"precious")
    link = journal.with_name(name)
    if link.is_dir():
        link.rmdir()
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    result = stemsplit("convert", song_file, "-o", "out", "--overwrite")
    assert result.code == 1
    assert f"{name}” is a link that leads out of" in result.err
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("link", [False, True])
def test_a_journal_of_another_program_is_not_changed(
    tmp_path: Path, stemsplit: Callable[..., CommandResult], song_file: Path, *, link: bool
) -> None:
    """The journal is a database with other tables, or a dangling link."""
    state = OutputLayout(tmp_path / "out")
    state.folder.mkdir(parents=True)
    if link:
        state.journal.symlink_to(tmp_path / "nowhere")
    else:
        with closing(sqlite3.connect(state.journal)) as db:
            db.execute("CREATE TABLE mine (a)")
    result = stemsplit("convert", song_file, "-o", "out")
    assert result.code == 1
    message = "is a link that leads out of" if link else "is not a stemsplit journal"
    assert message in result.err
    assert "-o" in result.err
    assert not (tmp_path / "nowhere").exists()
    assert stemsplit("status", "out").code in {1, 2}
