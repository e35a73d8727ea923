"""Runs in the supervisor. The journal's file: opened, brought up to date, its errors in our words.

An SQLite database with one writer, who holds the folder's lock. It keeps SQLite's rollback journal,
because the other kind does not work on network folders, and `synchronous=EXTRA`, which is FULL and
the folder as well: what is committed survives a power cut. Others may read it meanwhile.

The file may be a stranger's. It is opened only if it is a plain database of stemsplit's tables, and
every row is checked when it is read: types, ranges, and that paths stay below the output folder.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import msgspec

from stemsplit.core.errors import DiskFullError, StemsplitError, UnwritableError
from stemsplit.core.text import printable, quoted
from stemsplit.journal.layout import OutputLayout
from stemsplit.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stemsplit.storage.untrusted import OutsideError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self


Row = TypeVar("Row")

_FOREIGN = """
    SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE '%VIRTUAL%'
"""
"""What could run while tables are read or written, and no version of stemsplit has made."""

_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""Ends a rollback journal that names a journal of several databases
(https://www.sqlite.org/tempfiles.html, 2.3), which SQLite removes, wherever it is."""


def _uri(path: Path) -> str:
    """Give a path as SQLite takes it; one of Windows' network shares has two slashes more."""
    uri = path.absolute().as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)


_BUSY_SECONDS = 20.0
"""So long another program may hold the database before that is an error."""


class _ResultCode(IntEnum):
    """What SQLite could not do (https://www.sqlite.org/rescode.html)."""

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
        """Give it; by SQLite's words for it with Python 3.10, which does not tell the number."""
        number = getattr(error, "sqlite_errorcode", None)
        if number is None:
            words = str(error)
            known = (code for start, code in _BY_WORDS.items() if words.startswith(start))
            return next(known, cls.OTHER)
        code = number & 0xFF  # the rest tells more than is asked here
        return cls(code) if code in {*cls} else cls.OTHER


_BY_WORDS = {
    "database is locked": _ResultCode.BUSY,
    "database table is locked": _ResultCode.LOCKED,
    "database disk image is malformed": _ResultCode.CORRUPT,
    "database or disk is full": _ResultCode.FULL,
    "file is not a database": _ResultCode.NOTADB,
    "no such ": _ResultCode.ERROR,
    "Could not decode to UTF-8": _ResultCode.CORRUPT,  # Python's own words, without a number
}


class Database:
    """The database of one output folder; a context manager that closes it.

    Args:
        path: the database; made if need be, its folder being there.
        output: the folder for all stems.
        writable: whether this is the one writer.

    Raises:
        StemsplitError: if it cannot be opened, is damaged, or is of a newer stemsplit.
    """

    def __init__(self, path: Path, output: Path, *, writable: bool = False) -> None:
        """Open it, and bring an older schema up to date."""
        self._path = path
        self._output = os.fsencode(output)
        self._state = OutputLayout(output)
        self._state.require_own()
        self._require_plain_rollback()
        mode = "rwc" if writable else "rw"  # a reader may have to clean up after a crash
        with self._told():
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
        self._require_ours(version)
        if version > SCHEMA_VERSION:
            raise StemsplitError(
                f"The journal {quoted(self._path)} was written by a newer stemsplit.",
                "Update stemsplit, or name another folder with -o.",
            )
        if not writable:
            return
        self._state.share(self._path)
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache too
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )

    def _require_ours(self, version: int) -> None:
        """Refuse a database of another program, or one that holds more than tables of ours."""
        is_empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        mark = self._db.execute("PRAGMA application_id").fetchone()[0]
        is_ours = is_empty if version == 0 else mark == APPLICATION_ID
        if not is_ours or self._db.execute(_FOREIGN).fetchone()[0]:
            raise StemsplitError(
                f"{quoted(self._path)} is not a journal of stemsplit's.",
                "Move it away, or name another folder with -o.",
            )

    def _require_plain_rollback(self) -> None:
        """Refuse what an interrupted write has left if it could make SQLite remove other files."""
        rollback = self._path.with_name(f"{self._path.name}-journal")
        try:
            with rollback.open("rb") as file:
                file.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
                end = file.read()
        except OSError:  # there is none, it is empty, or SQLite meets the same error
            return
        if end == _SUPER_JOURNAL:
            raise self._damaged(f"{quoted(rollback.name)} names another file")

    @classmethod
    def read(cls, path: Path, output: Path) -> Self | None:
        """Open it for looking on; None if there is none yet.

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
        journal = cls(path, output)
        if journal.version == 0:  # it is just being made, or that was interrupted
            journal.__exit__()
            return None
        return journal

    @property
    def version(self) -> int:
        """The schema's; 0 before there is one."""
        with self._told():
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close it."""
        self._db.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a fault of this module's
        except sqlite3.DatabaseError as error:
            raise self._translated(error) from error
        except (msgspec.MsgspecError, OutsideError, RecursionError, UnicodeError) as error:
            raise self._damaged(str(error)) from error

    def _translated(self, error: sqlite3.DatabaseError) -> StemsplitError:
        where = f"The journal {quoted(self._path)}"
        match _ResultCode.of(error):
            case _ResultCode.FULL:
                return DiskFullError(
                    "The disk of the output folder is full.",
                    "Make room, or name another folder with -o, and run the same command again.",
                )
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
                    f"{where} is held by another program.",
                    "Close that, and run the same command again.",
                )
        return UnwritableError(
            f"{where} cannot be written ({error}).",
            "Check the folder's permissions and the disk, or name another folder with -o.",
        )

    def _damaged(self, fault: str) -> StemsplitError:
        return StemsplitError(
            f"The journal {quoted(self._path)} is damaged ({printable(fault)}).",
            "Move it away and run the same command again: stems that are there are then left as "
            "they are.",
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all that is done within, or nothing of it."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # After some errors (a full disk) SQLite has rolled back by itself.
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _read(self, row: type[Row], query: str, *values: object) -> list[Row]:
        """Read rows of a type that says what each column holds."""
        with self._told():
            rows = self._db.execute(query, values).fetchall()
            return msgspec.convert(rows, list[row], builtin_types=(bytes,))  # type: ignore[valid-type]
