"""The reports that a query asks for, out of the fleet's database: of each device in each group the last one.

The devices are read in portions, each in a transaction of its own: a reader that stays in one keeps SQLite from
shortening its log, which grows by all that the controller writes meanwhile.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import ValidationError

from server.fleet.database import Database
from tinytrain_core.devices.profile import profile_by_number
from tinytrain_core.errors import ConfigurationError, ErrorCode, StorageError
from tinytrain_core.report import Outcome, PersonalisationReport

UNKNOWN_CLASS = "unknown"
BY_ITSELF = "by itself"  # what is not a rollout's: the device did it without an order
PORTION = 500  # devices that are read at once


class By(StrEnum):
    """What groups devices."""

    RELEASE = "release"
    CLASS = "class"
    DAY = "day"
    ROLLOUT = "rollout"


UNIT = "CASE device WHEN 0 THEN node ELSE device END"  # who reports, as `StoredReport.unit`
NEWEST_FIRST = "received_s DESC, made_s DESC, attempt DESC, report_id DESC"
_GROUPS = {
    By.RELEASE: "release_version",
    By.CLASS: "profile",
    By.DAY: "CAST(received_s / 86400 AS INTEGER)",
    By.ROLLOUT: "rollout",
}
_LAST = f"""
    SELECT r.node, r.device, r.release_version, r.received_s, r.fields, r.rollout, o.name AS rollout_name, c.reports
    FROM (
        SELECT rowid AS id, row_number() OVER newest_first AS place, count(*) OVER one AS reports
        FROM reports
        WHERE device BETWEEN :first AND :last
          AND (:release IS NULL OR release_version = :release)
          AND (:rollout IS NULL OR rollout = :rollout)
          AND (:since IS NULL OR received_s >= :since)
        WINDOW one AS (PARTITION BY {{}}), newest_first AS (one ORDER BY {NEWEST_FIRST})
    ) AS c
    JOIN reports AS r ON r.rowid = c.id LEFT JOIN rollouts AS o ON o.id = r.rollout
    WHERE c.place = 1
    ORDER BY r.received_s, r.made_s, r.attempt, r.device, r.report_id
"""


@dataclass(frozen=True)
class Selection:
    """Which reports are asked for; None asks for all.

    Attributes:
        since_s: seconds since 1970 by the server's clock, of their arrival.
    """

    release: int | None = None
    rollout: str | None = None
    since_s: float | None = None


@dataclass(frozen=True)
class StoredReport:
    """A report and what the server knows of it.

    Attributes:
        received_s: seconds since 1970.
        reports: that it is the last of.
    """

    node: str
    device: int
    release: int
    rollout: str
    received_s: float
    report: PersonalisationReport
    reports: int = 1

    @property
    def unit(self) -> int | str:
        """Who reports: the device, or its node where it does not say which."""
        return self.device or self.node

    @property
    def device_class(self) -> str:
        """The class's name in the catalogue, as the device reports it."""
        profile = profile_by_number(self.report.profile)
        return profile.name if profile else UNKNOWN_CLASS

    @property
    def day(self) -> str:
        """The day of its arrival, UTC, as 2025-12-31."""
        return datetime.fromtimestamp(self.received_s, UTC).date().isoformat()


def error_name(code: int) -> str:
    """An error code in words."""
    return ErrorCode(code).name.lower().replace("_", " ") if code in set(ErrorCode) else f"code {code}"


def outcome_name(code: int) -> str:
    """An outcome in words."""
    return Outcome(code).name.lower().replace("_", " ") if code in set(Outcome) else f"outcome {code}"


def _rollout_number(database: Database, name: str) -> int:
    found = database.rows("SELECT id FROM rollouts WHERE name = ?", name)
    if not found:
        names = [row["name"] for row in database.rows("SELECT name FROM rollouts ORDER BY id DESC LIMIT 8")]
        raise ConfigurationError(f"no rollout is called {name!r}; the latest are {', '.join(names) or 'none at all'}")
    return int(found[0]["id"])


def _stored(row: sqlite3.Row) -> StoredReport:
    try:
        report = PersonalisationReport.model_validate_json(row["fields"])
    except ValidationError:
        raise StorageError(
            f"a report of device {row['device']} in the fleet's database cannot be read; was a later version of "
            "this program here?"
        ) from None
    name = row["rollout_name"] or (f"rollout {row['rollout']}" if row["rollout"] else BY_ITSELF)
    received_s, reports = row["received_s"], row["reports"]
    return StoredReport(row["node"], row["device"], row["release_version"], name, received_s, report, reports)


def stored_reports(
    database: Database, selection: Selection, by: Sequence[By] = tuple(By), portion: int = PORTION
) -> Iterator[StoredReport]:
    """Of each device in each group the last report of a selection, and how many there are.

    Args:
        by: what groups them; a coarser grouping can be made from a finer one.
        portion: devices that are read at once. Within a portion, and so of a device, reports are in the order of
            their arrival.

    Raises:
        ConfigurationError: there is no rollout of that name.
        StorageError: a stored report is not one that this program knows.
    """
    rollout = None if selection.rollout is None else _rollout_number(database, selection.rollout)
    values = {"release": selection.release, "rollout": rollout, "since": selection.since_s}
    query = _LAST.format(", ".join((UNIT, *(_GROUPS[what] for what in by))))
    numbers = [row[0] for row in database.rows("SELECT DISTINCT device FROM reports ORDER BY device")]
    for start in range(0, len(numbers), portion):
        devices = numbers[start : start + portion]
        within = {"first": devices[0], "last": devices[-1]}
        yield from map(_stored, database.connection.execute(query, values | within).fetchall())
