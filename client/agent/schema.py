"""The tables of a device's database: made, brought up to date, checked when they are opened, and set aside."""

import logging
import re
import sqlite3
from pathlib import Path

from tinytrain_core.errors import StorageError

log = logging.getLogger(__name__)

SCHEMA = 2
UPGRADES = {1: "ALTER TABLE orders DROP COLUMN signatures;"}  # from a version to the next
TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE orders (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout INTEGER NOT NULL, attempt INTEGER NOT NULL,
    version INTEGER NOT NULL, digest TEXT NOT NULL,
    manifest TEXT NOT NULL, settings TEXT NOT NULL,
    arrived_s REAL NOT NULL, valid_s REAL NOT NULL, until_s REAL NOT NULL, expires_s REAL NOT NULL,
    proven INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
    UNIQUE (rollout, attempt)
);
CREATE TABLE done (
    position INTEGER REFERENCES orders ON DELETE CASCADE, device INTEGER, PRIMARY KEY (position, device)
);
CREATE TABLE tries (device INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    report_id INTEGER NOT NULL UNIQUE, envelope TEXT NOT NULL, report TEXT NOT NULL
);
CREATE TABLE remembered (
    device INTEGER, digest TEXT, adapted INTEGER NOT NULL, report TEXT NOT NULL, PRIMARY KEY (device, digest)
);
"""


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "wal_autocheckpoint = 100"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _sound(connection: sqlite3.Connection) -> bool:
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        return False
    there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    new = connection.execute("PRAGMA user_version").fetchone()[0] == 0
    return new or there >= set(re.findall(r"CREATE TABLE (\w+)", TABLES))


def _bring_up_to_date(connection: sqlite3.Connection, schema: int) -> None:
    steps = TABLES if schema == 0 else "".join(UPGRADES[version] for version in range(schema, SCHEMA))
    connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {SCHEMA}; COMMIT;")


def open_database(file: Path) -> sqlite3.Connection | None:
    """The database; None where it is damaged.

    Raises:
        StorageError: it cannot be opened, or is of a later version.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(file)
        if not _sound(connection):
            connection.close()
            return None
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
        if schema > SCHEMA:
            raise StorageError(f"{file} is of version {schema}, this program writes {SCHEMA}; update it")
        if schema < SCHEMA:
            _bring_up_to_date(connection, schema)
    except (OSError, sqlite3.OperationalError) as error:
        raise StorageError(f"cannot open {file}: {error}; free the disk, or mend its permissions") from error
    except sqlite3.DatabaseError:
        return None
    return connection


def set_aside(file: Path, why: str) -> None:
    """Rename a database, so that somebody can look at it; only the last one is kept.

    Raises:
        StorageError: it cannot be renamed.
    """
    log.error("%s is %s; it is kept as %s.%s, and waiting reports are lost with it", file, why, file.name, why)
    try:
        for ending in ("-wal", "-shm"):
            file.with_name(file.name + ending).unlink(missing_ok=True)
        if file.exists():
            file.replace(file.with_name(f"{file.name}.{why}"))
    except OSError as error:
        raise StorageError(f"cannot set {file} aside: {error.strerror}; mend its permissions") from error
