"""A device's database: opened, checked and set aside where it is damaged; its transactions, and what survives its loss.

Every change is one transaction on the disk (WAL, synchronous FULL), after which the agent may forget it. A database
that is damaged is set aside and a new one begun with the standing in `held.json`: then reports that were waiting are
lost, and an order that was running is given again by the server, but no version and no privacy is ever won back.
That of another fleet is set aside as well, and only what was spent is taken along.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from client.agent.schema import open_database, set_aside
from client.agent.standing import STANDING_FILE, Standing, later, parse_standing, read_standing, write_standing
from tinytrain_core.errors import StorageError

log = logging.getLogger(__name__)

DAMAGED, FOREIGN = "damaged", "of-another-fleet"
EXHAUSTED = 2**31 - 1  # of privacy, where it is not known how much was spent


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
        self._file, self._standing_file = file, file.with_name(STANDING_FILE)
        held = read_standing(self._standing_file)
        connection = open_database(file)
        if read_only and connection is None:
            raise StorageError(f"{file} is damaged; the node sets it aside when it starts")
        lost = held is None and (connection is None or self._standing_file.exists())
        if connection is None:
            set_aside(file, DAMAGED)
            connection = open_database(file)
        if connection is None:
            raise StorageError(f"a new database at {file} is damaged as well; replace the disk")
        self._connection, self.damaged = connection, False
        try:
            known = later(held, parse_standing(self.fact("standing", "")))
            if known is None and lost:
                log.error("%s is damaged or gone as well: versions begin anew, privacy counts as spent", STANDING_FILE)
                known = Standing(changes=1, spent=dict.fromkeys(devices, EXHAUSTED))
            self.standing = known or Standing()
            if not read_only:
                self._keep_standing(self.standing)
        except BaseException:
            connection.close()
            raise

    def begin_anew(self, standing: Standing, why: str) -> None:
        """Set the database aside, and begin a new one that knows no more than `standing`.

        Args:
            why: a word that its file is called by from then on.
        """
        self._connection.close()
        set_aside(self._file, why)  # first: the later of two standings would be both
        write_standing(self._standing_file, standing)
        if (connection := open_database(self._file)) is None:
            raise StorageError(f"a new database at {self._file} is damaged as well; replace the disk")
        self._connection, self.damaged, self.standing = connection, False, standing
        self._keep_standing(standing)

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
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
                raise self._failed(error) from error
            raise
        self.standing = standing or self.standing

    def _failed(self, error: sqlite3.Error) -> StorageError:
        """What an error of the database is to everybody else; from damage it does not recover by itself."""
        usual = isinstance(error, sqlite3.OperationalError | sqlite3.InterfaceError)
        self.damaged |= not usual or "no such table" in str(error)
        return StorageError(f"the device's state cannot be read or written: {error}; free the disk, or replace it")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """What a query finds."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _count(self, query: str, values: Sequence[Any] = ()) -> int:
        """The one number that a query finds; nothing is 0."""
        return int(self._rows(query, values)[0][0] or 0)

    def _keep_standing(self, standing: Standing) -> None:
        """Make the file and the database say the same."""
        if read_standing(self._standing_file) != standing:
            write_standing(self._standing_file, standing)
        if parse_standing(self.fact("standing", "")) != standing:
            with self._transaction():
                self._set_fact("standing", standing.to_json())

    def fact(self, name: str, default: str) -> str:
        """A small fact by name."""
        rows = self._rows("SELECT value FROM facts WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else default

    def number(self, name: str) -> int:
        """A count by name, from 0."""
        return int(self.fact(name, "0"))

    def _set_fact(self, name: str, value: object) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, str(value)))

    def keep(self, standing: Standing) -> None:
        """Write a standing down by itself."""
        with self._transaction(standing):
            pass

    def note(self, **facts: object) -> None:
        """Write small facts down."""
        with self._transaction():
            for name, value in facts.items():
                self._set_fact(name, value)
