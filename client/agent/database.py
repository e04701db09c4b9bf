"""A device's database: opened, checked and set aside where it is damaged; its transactions, and what survives its loss.

Every change is one transaction on the disk (WAL, synchronous FULL), after which the agent may forget it. A database
that is damaged is set aside and a new one begun with the standing in `held.json`: then reports that were waiting are
lost, and an order that was running is given again by the server, but no version and no privacy is ever won back.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from client.agent.standing import STANDING_FILE, Standing, later, parse_standing, read_standing, write_standing
from tinytrain_core.errors import StorageError

log = logging.getLogger(__name__)

SCHEMA = 1
EXHAUSTED = 2**31 - 1  # of privacy, where it is not known how much was spent
TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE orders (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout INTEGER NOT NULL, attempt INTEGER NOT NULL,
    version INTEGER NOT NULL, digest TEXT NOT NULL,
    manifest TEXT NOT NULL, signatures TEXT NOT NULL, settings TEXT NOT NULL,
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
    return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")


def _open(file: Path) -> sqlite3.Connection | None:
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
            connection.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    except (OSError, sqlite3.OperationalError) as error:
        raise StorageError(f"cannot open {file}: {error}; free the disk, or mend its permissions") from error
    except sqlite3.DatabaseError:
        return None
    return connection


def _set_aside(file: Path) -> None:
    """Rename a damaged database, so that somebody can look at it; only the last one is kept."""
    log.error("%s is damaged; it is kept as %s.damaged, and waiting reports are lost with it", file, file.name)
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            file.with_name(file.name + ending).unlink()
    file.replace(file.with_name(file.name + ".damaged"))


class AgentDatabase:
    """The database at `file`, with `held.json` beside it.

    Every method raises StorageError where the disk fails; then nothing has changed.
    """

    def __init__(self, file: Path, devices: Sequence[int] = (), read_only: bool = False) -> None:
        """Open it, and begin a new one where it is damaged.

        Args:
            devices: the node's, whose privacy counts as spent where nothing is left that knows.
            read_only: leave everything as it is, for whoever looks on while the node runs.

        Raises:
            StorageError: it cannot be opened or written.
        """
        self._standing_file = file.with_name(STANDING_FILE)
        held = read_standing(self._standing_file)
        connection = _open(file)
        if read_only and connection is None:
            raise StorageError(f"{file} is damaged; the node sets it aside when it starts")
        if connection is None:
            _set_aside(file)
            if held is None:
                log.error("%s is damaged or gone as well: versions begin anew, privacy counts as spent", STANDING_FILE)
                held = Standing(changes=1, spent=dict.fromkeys(devices, EXHAUSTED))
            connection = _open(file)
        if connection is None:
            raise StorageError(f"a new database at {file} is damaged as well; replace the disk")
        self._connection = connection
        self.standing = later(held, parse_standing(self.fact("standing", ""))) or Standing()
        if not read_only:
            self._keep_standing(self.standing)

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    @contextmanager
    def _transaction(self, standing: Standing | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction; with a standing, its file is written when all else has worked, before the commit."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            if standing is not None and standing != self.standing:
                self._set_fact("standing", standing.to_json())
                write_standing(self._standing_file, standing)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise StorageError(f"cannot write the device's state: {error}; free the disk") from error
            raise
        self.standing = standing or self.standing

    def _keep_standing(self, standing: Standing) -> None:
        """Make the file and the database say the same."""
        if read_standing(self._standing_file) != standing:
            write_standing(self._standing_file, standing)
        if parse_standing(self.fact("standing", "")) != standing:
            with self._transaction():
                self._set_fact("standing", standing.to_json())

    def fact(self, name: str, default: str) -> str:
        """A small fact by name."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else str(row[0])

    def number(self, name: str) -> int:
        """A count by name, from 0."""
        return int(self.fact(name, "0"))

    def _set_fact(self, name: str, value: object) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, str(value)))

    def note(self, **facts: object) -> None:
        """Write small facts down."""
        with self._transaction():
            for name, value in facts.items():
                self._set_fact(name, value)
