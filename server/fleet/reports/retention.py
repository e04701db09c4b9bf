"""What old reports, refusals and decisions take, and how they are deleted while the fleet goes on.

What stays however old it is: everything about a rollout that has not ended; reports that a node may yet send again, as
it has not been told that they are stored; and, on request, the last report of each device about each release, which
later rollouts and `fleet report` compare with.

Rows go in small transactions with as much time between them as they took, so that the controller is not kept from
writing and SQLite can shorten its log.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from server.fleet.database import Database
from server.fleet.reports.rows import NEWEST_FIRST, UNIT
from tinytrain_core.errors import StorageError

ROWS, PAGES = 2_000, 1_000  # at once
INCREMENTAL = 2  # of `PRAGMA auto_vacuum`: pages are given back on request
_ENDED = "NOT IN (SELECT id FROM rollouts WHERE ended_s IS NULL)"
_LAST = f"""
    SELECT rowid FROM (SELECT rowid, row_number() OVER (PARTITION BY {UNIT}, release_version ORDER BY {NEWEST_FIRST})
    AS place FROM reports) WHERE place = 1
"""
_REPORTS = f"""
    SELECT node, report_id, length(fields) AS bytes FROM reports
    WHERE received_s < :before AND rollout {_ENDED}
      AND (acknowledged_s IS NOT NULL OR node IN (SELECT name FROM nodes WHERE removed_s IS NOT NULL))
      AND (NOT :keep_last OR rowid NOT IN ({_LAST}))
"""
_OTHERS = {  # table: the rows to delete
    "refusals": f"SELECT id, length(reason) AS bytes FROM refusals WHERE at_s < :before AND rollout {_ENDED}",
    "decisions": "SELECT id, length(reason) + length(figures) AS bytes FROM decisions "
    f"WHERE at_s < :before AND rollout {_ENDED}",
}
_QUERIES: Mapping[str, str] = {"reports": _REPORTS, **_OTHERS}
_KEYS = {"reports": "node, report_id", "refusals": "id", "decisions": "id"}


@dataclass(frozen=True)
class Old:
    """What can be deleted of a table; `bytes` is what its texts take, without numbers and indexes."""

    what: str
    rows: int
    bytes: int


Told = Callable[[int, int], None]  # how many of how many are done


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(f"the fleet's database cannot be made smaller: {error}; free the disk") from error


def find_old(database: Database, before_s: float, keep_last: bool) -> list[Old]:
    """What is older than a time since 1970, in seconds; `delete_old` deletes just that."""
    found = []
    with _stored():
        for what, query in _QUERIES.items():
            database.connection.execute(f"DROP TABLE IF EXISTS temp.old_{what}")
            values = {"before": before_s, "keep_last": keep_last}
            database.connection.execute(f"CREATE TEMP TABLE old_{what} AS {query}", values)
            ((rows, size),) = database.rows(f"SELECT count(*), ifnull(sum(bytes), 0) FROM temp.old_{what}")
            found.append(Old(what, rows, size))
    return found


def delete_old(database: Database, old: list[Old], told: Told) -> None:
    """Delete what `find_old` found on the same connection."""
    done, total = 0, sum(one.rows for one in old)
    for one in old:
        key = _KEYS[one.what]
        for first in range(1, one.rows + 1, ROWS):
            chosen = f"SELECT {key} FROM temp.old_{one.what} WHERE rowid BETWEEN ? AND ?"
            with _resting(), database.transaction() as connection:
                connection.execute(f"DELETE FROM {one.what} WHERE ({key}) IN ({chosen})", (first, first + ROWS - 1))
            done = min(done + ROWS, total)
            told(done, total)


@contextmanager
def _resting() -> Iterator[None]:
    """Others have their turn: for as long as this one took."""
    began = time.monotonic()
    yield
    time.sleep(time.monotonic() - began)


def give_back(database: Database, told: Told) -> None:
    """Give the pages that are free to the file system.

    A database that was made without this possibility is written anew, once, in one transaction.

    Raises:
        StorageError: the disk is full, or another process kept the database busy for too long.
    """
    with _stored():
        if _pragma(database, "auto_vacuum") != INCREMENTAL:
            database.connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
            database.connection.execute("VACUUM")
        total = free = _pragma(database, "freelist_count")
        while free > 0:
            with _resting():
                database.rows(f"PRAGMA incremental_vacuum({PAGES})")
            left = _pragma(database, "freelist_count")
            told(total - left, total)
            if left >= free:  # the controller frees pages as well
                break
            free = left
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def _pragma(database: Database, name: str) -> int:
    return int(database.rows(f"PRAGMA {name}")[0][0])
