"""Files that a stranger put where stemsplit looks: settings, models, parts of a journal."""

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

from stemsplit.journal.layout import OutputLayout

resource = pytest.importorskip("resource")

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ran

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The file of settings of the current folder."""
    return tmp_path / "stemsplit.toml"


def test_a_pipe_or_a_device_named_stemsplit_toml_is_refused(
    settings: Path, stemsplit: Callable[..., Ran]
) -> None:
    """At once: nobody will ever write to that pipe, and the device never ends."""
    os.mkfifo(settings)
    ran = stemsplit("separate", "song.wav", "-o", "out")
    assert ran.code == 2
    assert "stemsplit.toml” cannot be read (it is not a regular file)" in ran.err
    settings.unlink()
    settings.symlink_to("/dev/zero")
    assert "it is not a regular file" in stemsplit("separate", "song.wav", "-o", "out").err
    settings.unlink()
    with settings.open("wb") as file:
        file.truncate(2**36)
    assert "larger than" in stemsplit("config", "separate").err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('engine = "my_engine:load"', "There is no engine “my_engine:load”"),
        ('cluster = "10.0.0.1:6379"', "could run code here"),
        ('cluster = "auto"', "could run code here"),
    ],
)
def test_settings_of_the_current_folder_name_no_code(
    settings: Path, tmp_path: Path, stemsplit: Callable[..., Ran], line: str, said: str
) -> None:
    """Neither an engine nor a cluster; the user's own file may name the latter."""
    settings.write_text(f"[separate]\n{line}\n")
    ran = stemsplit("separate", "song.wav", "-o", "out")
    assert ran.code == 2
    assert said in ran.err
    if "cluster" not in line:
        return
    own = tmp_path / "config" / "stemsplit"
    own.mkdir(parents=True)
    settings.rename(own / "stemsplit.toml")
    ran = stemsplit("config", "separate", XDG_CONFIG_HOME=str(own.parent))
    assert ran.code == 0
    assert str(own) in ran.out


def _import(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Import a model with 1 GiB of address space beside what Python takes."""

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


def test_a_model_is_no_device_and_no_pipe(tmp_path: Path) -> None:
    """They would fill all memory, or wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "model.tar.gz"
    link.symlink_to("/dev/zero")
    for source in (Path("/dev/zero"), Path("/dev/stdin"), pipe, link):
        done = _import(source, tmp_path / "models")
        assert done.returncode == 1
        assert "is neither a file nor a folder" in done.stderr


def _bomb(kind: bytes, size: int) -> bytes:
    """A tar archive of which one header, a long name or attributes, is of that size; in gzip."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    return header.tobuf()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_an_archive_takes_no_more_memory_than_a_model(tmp_path: Path, kind: bytes) -> None:
    """However much it claims: a few MB of gzip hold 4 GiB of zeros."""
    archive = tmp_path / "bomb.tar.gz"
    zeros = bytes(2**24)
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(_bomb(kind, 2**32))
        for _ in range(2**32 // len(zeros) if kind == tarfile.REGTYPE else 8):
            file.write(zeros)
    done = _import(archive, tmp_path / "models")
    assert done.returncode == 1
    assert "is larger than any model" in done.stderr, done.stderr


def test_an_archive_of_a_million_files_is_refused(tmp_path: Path) -> None:
    """Each would be remembered."""
    archive = tmp_path / "many.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(1_500):
            tar.addfile(tarfile.TarInfo(str(number)))
    archive.write_bytes(gzip.compress(buffer.getvalue()))
    assert "is larger than any model" in _import(archive, tmp_path / "models").stderr


def test_a_folder_of_zeros_is_no_model(tmp_path: Path) -> None:
    """A file that claims to be larger than any model is not copied."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "model.data-00000-of-00001").open("wb") as file:
        file.truncate(2**40)
    done = _import(source, tmp_path / "models")
    assert "is larger than any model" in done.stderr


def test_a_list_that_never_ends_is_refused(stemsplit: Callable[..., Ran]) -> None:
    """A device would fill all memory."""
    ran = stemsplit("separate", "--from-file", "/dev/zero", "-o", "out")
    assert ran.code == 2
    assert "is too large for a list" in ran.err


@pytest.fixture
def journal(stemsplit: Callable[..., Ran], song_file: Path, tmp_path: Path) -> Path:
    """The journal of a folder that holds a track."""
    ran = stemsplit("convert", song_file, "-o", "out", "--format", "flac")
    assert ran.code == 0, ran.err
    return OutputLayout(tmp_path / "out").journal


def _rollback(victim: Path) -> bytes:
    """What an interrupted write to two databases leaves; it names the file of what they share."""
    page, sector = 4_096, 512
    head = bytes.fromhex("d9d505f920a163d7") + bytes(8)  # no pages to bring back
    head += (1).to_bytes(4, "big") + sector.to_bytes(4, "big") + page.to_bytes(4, "big")
    name = os.fsencode(victim)
    lock_page = 2**30 // page + 1
    return (
        head.ljust(sector, b"\0")
        + lock_page.to_bytes(4, "big")
        + name
        + len(name).to_bytes(4, "big")
        + sum(name).to_bytes(4, "big")
        + bytes.fromhex("d9d505f920a163d7")
    )


def test_an_interrupted_write_removes_no_other_file(
    journal: Path, tmp_path: Path, stemsplit: Callable[..., Ran]
) -> None:
    """SQLite would remove the file that it names, wherever that is."""
    victim = tmp_path / "precious"
    victim.write_bytes(b"precious")
    rollback = journal.with_name(f"{journal.name}-journal")
    rollback.write_bytes(_rollback(victim))
    copy = tmp_path / "copy.sqlite3"
    shutil.copy(journal, copy)
    shutil.copy(rollback, tmp_path / "copy.sqlite3-journal")
    for command in (("status", "out"), ("report", "out"), ("convert", "song.wav", "-o", "out")):
        ran = stemsplit(*command)
        assert ran.code == 1
        assert "names another file" in ran.err
    assert victim.exists()
    # SQLite itself does it: the attack is a real one.
    with closing(sqlite3.connect(copy)) as db, suppress(sqlite3.Error):
        db.execute("SELECT count(*) FROM jobs").fetchone()
    assert not victim.exists()


@pytest.mark.parametrize("name", ["status.new", "holder.json", "lock", "summary.json", "logs"])
def test_nothing_is_written_through_a_link(
    journal: Path, tmp_path: Path, stemsplit: Callable[..., Ran], song_file: Path, name: str
) -> None:
    """That leads out of the output folder: the run is refused, with the name of the link."""
    victim = tmp_path / "precious"
    victim.write_bytes(b"precious")
    link = journal.with_name(name)
    if link.is_dir():
        link.rmdir()
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    ran = stemsplit("convert", song_file, "-o", "out", "--overwrite")
    assert ran.code == 1
    assert f"{name}” is a link that leads out of" in ran.err
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("link", [False, True])
def test_a_journal_of_another_program_is_left_alone(
    tmp_path: Path, stemsplit: Callable[..., Ran], song_file: Path, *, link: bool
) -> None:
    """A database with other tables, or a link to nowhere in the place of the journal."""
    state = OutputLayout(tmp_path / "out")
    state.folder.mkdir(parents=True)
    if link:
        state.journal.symlink_to(tmp_path / "nowhere")
    else:
        with closing(sqlite3.connect(state.journal)) as db:
            db.execute("CREATE TABLE mine (a)")
    ran = stemsplit("convert", song_file, "-o", "out")
    assert ran.code == 1
    said = "is a link that leads out of" if link else "is not a journal of stemsplit's"
    assert said in ran.err
    assert "-o" in ran.err
    assert not (tmp_path / "nowhere").exists()
    assert stemsplit("status", "out").code in {1, 2}
