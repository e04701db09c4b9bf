"""The fleet's SQLite database: one file in WAL mode, and the migrations that bring an older one up to date.

Several processes have it open: the controller writes what devices say, commands of the operator read it and leave
orders. Every change is one transaction, so that a killed process leaves either all of it or nothing.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from tinytrain_core.errors import StorageError

BUSY_TIMEOUT_S = 30.0
_MIGRATIONS = "migrations"


def _migrations() -> list[str]:
    """The SQL of every schema version, from 1."""
    folder = files(__package__) / _MIGRATIONS
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


SCHEMA_VERSION = len(_migrations())


def _connect(file: Path) -> sqlite3.Connection:
    new = not file.exists()
    connection = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    if new:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that what is pruned can be given back
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Apply what is missing, each schema version in a transaction of its own; nothing is locked where nothing is."""
    while connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise StorageError(
                    f"{file} has schema {version}, this program knows schemas up to {SCHEMA_VERSION}; update it"
                )
            if version == SCHEMA_VERSION:
                return
            for statement in _statements(_migrations()[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit before it begins."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


class Database:
    """An open database; close it, or use it as a context manager. One thread uses it.

    Raises:
        StorageError: it cannot be opened, is damaged, or has a later schema than this program knows.
    """

    def __init__(self, file: Path) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self.connection = _connect(file)
            _migrate(self.connection, file)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot open the database {file}: {error}") from error

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; what was not committed is undone."""
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it happens, and is on the disk when the block ends, or nothing.

        Raises:
            StorageError: the disk is full or failed, or another process kept the database busy for too long.
        """
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise StorageError(f"the fleet's database cannot be written: {error}") from error
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise StorageError(f"the fleet's database cannot be written: {error}; free or mend the disk") from error
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query.

        Raises:
            StorageError: they cannot be read.
        """
        try:
            return self.connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StorageError(f"the fleet's database cannot be read: {error}") from error

    def change(self) -> int:
        """A number that is another one whenever somebody else has written to the database."""
        return int(self.rows("PRAGMA data_version")[0][0])
