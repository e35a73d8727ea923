"""Runs in the supervisor. Opens the journal's database, migrates it, and translates its errors.

The journal is an SQLite database with a single writer, who holds the folder's lock; others may read
at any time. It uses a rollback journal, because a write-ahead log does not work on network file
systems, and `synchronous=EXTRA`, which also syncs the folder: committed data survives a power cut.

The file is untrusted. It is opened only if it contains nothing but stemsplit's tables, and each row
is checked when it is read: types, ranges, and that paths stay below the output folder.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from stemsplit.core.errors import FREE_DISK_SPACE, DiskFullError, StemsplitError, UnwritableError
from stemsplit.core.text import printable, quoted
from stemsplit.journal.output_layout import OutputLayout
from stemsplit.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stemsplit.storage.safe_paths import OutsideError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

Row = TypeVar("Row")

_FOREIGN = """
    SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE '%VIRTUAL%'
"""
"""Counts what could run code when tables are used; no version of stemsplit creates any."""

_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Last bytes of a rollback journal that names a super-journal
(https://www.sqlite.org/tempfiles.html, 2.3), which SQLite removes wherever it is."""


def _uri(path: Path) -> str:
    """Return a path as a URI for SQLite, with two more slashes for a Windows network share."""
    uri = path.absolute().as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)


_BUSY_SECONDS = 20.0
"""Time to wait while another program holds the database."""


class _ResultCode(IntEnum):
    """SQLite's primary result codes (https://www.sqlite.org/rescode.html)."""

    OTHER = 0
    ERROR = 1
    BUSY = 5
    LOCKED = 6
    CORRUPT = 11
    FULL = 13
    CONSTRAINT = 19
    MISMATCH = 20
    NOTADB = 26

    @classmethod
    def of(cls, error: sqlite3.DatabaseError) -> _ResultCode:
        """Return the code of an error, from its message with Python 3.10, which has no code."""
        number = getattr(error, "sqlite_errorcode", None)
        if number is None:
            message = str(error)
            codes = (code for start, code in _BY_MESSAGE.items() if message.startswith(start))
            return next(codes, cls.OTHER)
        code = number & 0xFF  # an extended result code has its primary code in the low byte
        return cls(code) if code in {*cls} else cls.OTHER


_BY_MESSAGE = {
    "database is locked": _ResultCode.BUSY,
    "database table is locked": _ResultCode.LOCKED,
    "database disk image is malformed": _ResultCode.CORRUPT,
    "database or disk is full": _ResultCode.FULL,
    "file is not a database": _ResultCode.NOTADB,
    "no such ": _ResultCode.ERROR,
    "Could not decode to UTF-8": _ResultCode.CORRUPT,  # raised by Python, without a code
}


class Database:
    """The database of one output folder; a context manager that closes it.

    Args:
        path: the database; if `writable`, it is created if missing, in an existing folder.
        output: the folder for all stems.
        writable: whether this is the single writer.

    Raises:
        StemsplitError: if the database cannot be opened, is damaged, or was written by a newer
            stemsplit.
    """

    def __init__(self, path: Path, output: Path, *, writable: bool = False) -> None:
        self._path = path
        self._output = os.fsencode(output)
        self._layout = OutputLayout(output)
        self._layout.check_entries()
        self._require_plain_rollback()
        mode = "rwc" if writable else "rw"  # a reader may have to roll back after a crash
        with self._translate_errors():
            self._db = sqlite3.connect(
                f"{_uri(path)}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare(writable=writable)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, *, writable: bool) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA trusted_schema = OFF")
        version = self.version
        self._require_journal(version)
        if version > SCHEMA_VERSION:
            raise StemsplitError(
                f"The journal {quoted(self._path)} was written by a newer version of stemsplit.",
                "Update stemsplit, or choose another folder with -o.",
            )
        if not writable:
            return
        self._layout.share_access(self._path)
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache too
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )

    def _require_journal(self, version: int) -> None:
        """Check that the database is a journal and contains nothing but tables."""
        is_empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application_id = self._db.execute("PRAGMA application_id").fetchone()[0]
        is_journal = is_empty if version == 0 else application_id == APPLICATION_ID
        if not is_journal or self._db.execute(_FOREIGN).fetchone()[0]:
            raise StemsplitError(
                f"{quoted(self._path)} is not a stemsplit journal.",
                "Move it elsewhere, or choose another folder with -o.",
            )

    def _require_plain_rollback(self) -> None:
        """Check that a leftover rollback journal does not make SQLite remove other files."""
        rollback = self._path.with_name(f"{self._path.name}-journal")
        try:
            with rollback.open("rb") as file:
                file.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
                end = file.read()
        except OSError:  # missing, empty, or SQLite reports the same error
            return
        if end == _SUPER_JOURNAL:
            raise self._damaged(f"{quoted(rollback.name)} names another file")

    @classmethod
    def open_existing(cls, path: Path, output: Path) -> Self | None:
        """Open the database for reading; return None if it does not exist yet.

        Raises:
            StemsplitError: as the class.
        """
        try:
            if not path.exists():
                return None
        except OSError as error:
            raise UnwritableError(
                f"{quoted(path)} cannot be read ({error.strerror}).", "Check the permissions."
            ) from error
        database = cls(path, output)
        if database.version == 0:  # being created, or its creation was interrupted
            database.__exit__()
            return None
        return database

    @property
    def version(self) -> int:
        """Version of the schema; 0 before its creation."""
        with self._translate_errors():
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors of SQLite and of decoding into `StemsplitError`."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a bug in stemsplit
        except sqlite3.DatabaseError as error:
            raise self._translated(error) from error
        except (msgspec.MsgspecError, OutsideError, RecursionError, UnicodeError) as error:
            raise self._damaged(str(error)) from error

    def _translated(self, error: sqlite3.DatabaseError) -> StemsplitError:
        where = f"The journal {quoted(self._path)}"
        match _ResultCode.of(error):
            case _ResultCode.FULL:
                return DiskFullError("The disk of the output folder is full.", FREE_DISK_SPACE)
            case (
                _ResultCode.NOTADB
                | _ResultCode.CORRUPT
                | _ResultCode.ERROR
                | _ResultCode.CONSTRAINT
                | _ResultCode.MISMATCH
            ):
                return self._damaged(str(error))
            case _ResultCode.BUSY | _ResultCode.LOCKED:
                return UnwritableError(
                    f"{where} is in use by another program.",
                    "Close that program, and run the same command again.",
                )
        return UnwritableError(
            f"{where} cannot be written ({error}).",
            "Check the folder's permissions and the disk, or choose another folder with -o.",
        )

    def _damaged(self, fault: str) -> StemsplitError:
        return StemsplitError(
            f"The journal {quoted(self._path)} is damaged ({printable(fault)}).",
            "Move it away, and run the same command again; existing stems are then left unchanged.",
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything that is done within, or roll it back."""
        with self._translate_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back after some errors, such as a full disk.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, row: type[Row], query: str, *values: object) -> list[Row]:
        """Return the rows of a query as instances of `row`, whose fields are the columns."""
        with self._translate_errors():
            rows = self._db.execute(query, values).fetchall()
            return msgspec.convert(rows, list[row], builtin_types=(bytes,))  # type: ignore[valid-type]

    def _read_column(self, kind: type[Row], query: str) -> list[Row]:
        """Return the values of a query with one column, of type `kind`."""
        return [value for (value,) in self._read(tuple[kind], query)]  # type: ignore[valid-type]
