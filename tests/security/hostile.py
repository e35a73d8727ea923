"""Manipulated output folders: valid ones with one change."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import sqlite3
import sys
import tarfile
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import msgspec
import pytest

from stemsplit.core.job import Job
from stemsplit.core.limits import Resources
from stemsplit.core.settings import Settings
from stemsplit.journal.job_records import JobEntry, JobState, Provenance
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.stem_records import pending_stems
from stemsplit.journal.writer import Journal
from stemsplit.storage.publish import STAGING_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

every_configuration = pytest.mark.parametrize(
    "options",
    [
        ("--engine", "onnx"),
        pytest.param(
            ("--engine", "tensorflow"),
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="TensorFlow needs Python 3.11 or older"
            ),
        ),
        ("--cluster", "local"),
    ],
    ids=lambda options: options[1],
)
"""Runs a test with each engine, which covers each start method, and with a local cluster."""

_ENDLESS_VIEW = """
    ALTER TABLE jobs RENAME TO hidden;
    CREATE VIEW jobs AS
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
"""

VICTIM_FOLDER = f"{STAGING_PREFIX}victim"
"""Has the name of a folder that recovery may remove."""


def make_victim(folder: Path) -> None:
    """Create files that no manipulation of an output folder may change."""
    (folder / VICTIM_FOLDER).mkdir(parents=True)
    (folder / VICTIM_FOLDER / "vocals.wav").write_bytes(b"precious")
    (folder / "precious.wav").write_bytes(b"precious")


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return the mode, size and content of every file and link below a folder."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_size,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in folder.rglob("*")
    }


def write_unfinished_run(output: Path, source: Path, *, publishing: bool) -> None:
    """Write what a run leaves if it is killed while it separates or publishes a track."""
    name = source.stem
    job = Job.of(source, {stem: output / name / f"{stem}.wav" for stem in ("vocals", "drums")})
    staging = output / f"{STAGING_PREFIX}{name}"
    staging.mkdir(parents=True)
    for stem in job.stems:
        (staging / f"{stem}.wav").write_bytes(b"stem")
    status = source.stat()
    provenance = Provenance(
        source_bytes=status.st_size, source_modified_ns=status.st_mtime_ns, settings="{}"
    )
    entry = JobEntry(job=job, wanted=provenance, predicted_seconds=4.0, state=JobState.WAITING)
    with Journal(OutputLayout(output).journal, output) as journal:
        journal.begin_run(Settings(), [entry], version="1", refused=[("a", "b", "c")])
        journal.begin_attempt(
            job, Settings(), Resources(), number=1, staging_folder=staging, preloaded=True
        )
        if publishing:
            moves = {f"{stem}.wav": path for stem, path in job.paths.items()}
            journal.begin_publishing(job, pending_stems(staging, moves, output), overwrite=False)


class Attacker:
    """Makes one change in an output folder; a seed determines all choices.

    Args:
        seed: seed of the choices.
        victim: folder outside the output folder (`make_victim`).
    """

    def __init__(self, seed: int, victim: Path) -> None:
        """Seed the generator; choose nothing yet."""
        self.random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._victim = victim

    def attack(self, output: Path) -> str:
        """Make one change and return its description."""
        attacks: list[Callable[[Path], str]] = [
            *[self._change_value] * 6,
            self._damage_journal,
            self._change_text_file,
            self._replace_entry,
            self._change_schema,
        ]
        return self.random.choice(attacks)(output)

    def _paths(self) -> list[bytes]:
        victim = os.fsencode(self._victim)
        above = b"../" * self.random.randint(1, 4)
        name = self._victim.name.encode()
        return [
            victim + b"/precious.wav",
            victim + b"/" + VICTIM_FOLDER.encode(),
            above + name + b"/precious.wav",
            b"song/" + above + name + b"/" + VICTIM_FOLDER.encode(),
            above + name,
            b"..",
            b".",
            b"",
            b"/",
            b"out/\0",
            b"x" * 5_000,
        ]

    def value(self) -> object:
        """Choose a value of any type that SQLite supports."""
        choose = self.random.choice
        path = choose(self._paths())
        stem = [choose(self._paths()).decode("latin-1"), choose(self._paths()), 4, 0]
        stems: list[object] = [stem, ["vocals.wav", path, 2**63, -1], ["vocals.wav", b"a", 4]]
        return choose(
            [
                path,
                path.decode("latin-1"),
                self.random.randbytes(self.random.randint(0, 60)),
                choose([0, -1, 2**63 - 1, -(2**63), 7]),
                choose([0.5, -1.0, 1e300, float("inf"), 1e13, float("nan")]),
                None,
                choose(["", "done", "publishing", "running", "waiting", "\x1b[2J", "é" * 100]),
                choose(["[]", "{}", "null", "[" * 100_000, '{"step":0,"values":[1e999]}', "[1]"]),
                '{"step":1e-300,"values":[null,"a"]}',
                msgspec.msgpack.encode([choose(stems)]),
                msgspec.msgpack.encode({"size_bytes": -1, "modified_ns": 2**63, "seconds": 1e308}),
            ]
        )

    def _change_value(self, output: Path) -> str:
        with closing(sqlite3.connect(OutputLayout(output).journal, isolation_level=None)) as db:
            tables = [
                name
                for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                if db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
            ]
            table = self.random.choice(tables)
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            column, value = self.random.choice(columns), self.value()
            where = "" if self.random.random() < 0.5 else f"WHERE {column} IS NOT NULL LIMIT 1"
            cast = "CAST(? AS TEXT)" if self.random.random() < 0.2 else "?"
            keys = f"SELECT {columns[0]} FROM {table} {where}"  # noqa: S608
            with suppress(sqlite3.IntegrityError):  # the column does not accept the value
                db.execute(
                    f"UPDATE OR IGNORE {table} SET {column} = {cast} "  # noqa: S608
                    f"WHERE {columns[0]} IN ({keys})",
                    (value,),
                )
        return f"{table}.{column} = {value!r:.200}"

    def _change_schema(self, output: Path) -> str:
        script = self.random.choice(
            [
                "CREATE TRIGGER t AFTER UPDATE ON jobs BEGIN DELETE FROM stems; END",
                _ENDLESS_VIEW,
                "DROP TABLE stems",
                "ALTER TABLE jobs DROP COLUMN remedy",
                "PRAGMA user_version = 99",
                "PRAGMA user_version = 0",
                "PRAGMA user_version = 1",
                "PRAGMA application_id = 7",
            ]
        )
        with closing(sqlite3.connect(OutputLayout(output).journal, isolation_level=None)) as db:
            db.execute("PRAGMA legacy_alter_table = ON")
            with suppress(sqlite3.Error):
                db.executescript(script)
        return script

    def _damage_journal(self, output: Path) -> str:
        path = OutputLayout(output).journal
        data = bytearray(path.read_bytes())
        for _ in range(self.random.randint(1, 40)):
            data[self.random.randrange(len(data))] = self.random.randrange(256)
        if self.random.random() < 0.2:
            del data[self.random.randrange(len(data)) :]
        path.write_bytes(data)
        return "bytes of the journal"

    def _change_text_file(self, output: Path) -> str:
        state = OutputLayout(output)
        path = self.random.choice(
            [state.status, state.summary, state.folder / "holder.json", state.lock]
        )
        valid = json.dumps(
            {"pid": os.getpid(), "host": "\x1b[31m", "since": self.random.choice([0, -1, 1e300])}
        )
        content = self.random.choice(
            [b"", b"null", b"[" * 100_000, b"{}", self.random.randbytes(50), valid.encode()]
        )
        path.write_bytes(content)
        return f"{path.name} = {content!r:.100}"

    def _replace_entry(self, output: Path) -> str:
        state = OutputLayout(output)
        path = self.random.choice(
            [state.folder, state.journal, state.lock, state.status, state.summary, state.logs]
            + [state.folder / name for name in ("holder.json", "status.new", "journal.sqlite3-wal")]
        )
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        replacement = self.random.choice(
            ["link to a file", "link to a folder", "pipe", "dangling link"]
        )
        if replacement == "pipe":
            os.mkfifo(path)
        else:
            target = {"link to a file": "precious.wav", "link to a folder": VICTIM_FOLDER}
            path.symlink_to(self._victim / target.get(replacement, "new"))
        return f"{path.name} is a {replacement}"

    def archive(self, folder: Path) -> Path:
        """Write an archive that is not a model."""
        path = folder / "archive"
        buffer = io.BytesIO()
        mode = self.random.choice(["w", "w:gz", "w:bz2", "w:xz"])
        with tarfile.open(fileobj=buffer, mode=mode) as tar:
            for _ in range(self.random.randint(0, 6)):
                name = self.random.choice(["model.index", "checkpoint", "../victim/precious.wav"])
                member = tarfile.TarInfo(name)
                types = [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
                member.type = self.random.choice([*types, tarfile.CHRTYPE])
                member.linkname = str(self._victim / "precious.wav")
                data = self.random.randbytes(self.random.randint(0, 2_000))
                member.size = len(data) if member.isreg() else 0
                tar.addfile(member, io.BytesIO(data))
        content = bytearray(buffer.getvalue())
        for _ in range(self.random.choice([0, 0, 1, 20])):
            content[self.random.randrange(len(content))] = self.random.randrange(256)
        path.write_bytes(content)
        return path
