"""Runs in the supervisor. The journal's file: opened, brought up to date, its errors in our words.

An SQLite database with one writer, who holds the folder's lock. It keeps SQLite's rollback journal,
because the other kind does not work on network folders, and `synchronous=EXTRA`, which is FULL and
the folder as well: what is committed survives a power cut. Others may read it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from stemsplit.errors import DiskFullError, StemsplitError, UnwritableError
from stemsplit.library.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stemsplit.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self


def _uri(path: Path) -> str:
    """Give a path as SQLite takes it; one of Windows' network shares has two slashes more."""
    uri = path.absolute().as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)


_BUSY_SECONDS = 20.0
"""So long another program may hold the database before that is an error."""


class _ResultCode(IntEnum):
    """What SQLite could not do (https://www.sqlite.org/rescode.html)."""

    OTHER = 0
    BUSY = 5
    LOCKED = 6
    CORRUPT = 11
    FULL = 13
    NOTADB = 26

    @classmethod
    def of(cls, error: sqlite3.DatabaseError) -> _ResultCode:
        """Give it; by SQLite's words for it with Python 3.10, which does not tell the number."""
        number = getattr(error, "sqlite_errorcode", None)
        if number is None:
            return _BY_WORDS.get(str(error), cls.OTHER)
        code = number & 0xFF  # the rest tells more than is asked here
        return cls(code) if code in {*cls} else cls.OTHER


_BY_WORDS = {
    "database is locked": _ResultCode.BUSY,
    "database table is locked": _ResultCode.LOCKED,
    "database disk image is malformed": _ResultCode.CORRUPT,
    "database or disk is full": _ResultCode.FULL,
    "file is not a database": _ResultCode.NOTADB,
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
        version = self.version
        if version > SCHEMA_VERSION:
            raise StemsplitError(
                f"The journal {quoted(self._path)} was written by a newer stemsplit.",
                "Update stemsplit, or name another folder with -o.",
            )
        if not writable:
            return
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = EXTRA")
        self._db.execute("PRAGMA fullfsync = ON")  # macOS: through the disk's own cache too
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )

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
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
                raise  # a fault of this module's
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.DatabaseError) -> StemsplitError:
        where = f"The journal {quoted(self._path)}"
        match _ResultCode.of(error):
            case _ResultCode.FULL:
                return DiskFullError(
                    "The disk of the output folder is full.",
                    "Make room, or name another folder with -o, and run the same command again.",
                )
            case _ResultCode.NOTADB | _ResultCode.CORRUPT:
                return StemsplitError(
                    f"{where} is damaged ({error}).",
                    "Move it away and run the same command again: stems that are there are then "
                    "left as they are.",
                )
            case _ResultCode.BUSY | _ResultCode.LOCKED:
                return UnwritableError(
                    f"{where} is held by another program.",
                    "Close that, and run the same command again.",
                )
        return UnwritableError(
            f"{where} cannot be written ({error}).",
            "Check the folder's permissions and the disk, or name another folder with -o.",
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

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._told():
            return self._db.execute(query, values).fetchall()
