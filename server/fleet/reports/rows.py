"""The reports that a query asks for, out of the fleet's database."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from server.fleet.database import Database
from tinytrain_core.devices.profile import profile_by_number
from tinytrain_core.errors import ConfigurationError, ErrorCode, StorageError
from tinytrain_core.report import Outcome, PersonalisationReport

UNKNOWN_CLASS = "unknown"
BY_ITSELF = "by itself"  # what is not a rollout's: the device did it without an order

_QUERY = """
    SELECT r.node, r.device, r.release_version, r.received_s, r.fields, r.rollout, o.name AS rollout_name
    FROM reports AS r LEFT JOIN rollouts AS o ON o.id = r.rollout
    WHERE (:release IS NULL OR r.release_version = :release)
      AND (:rollout IS NULL OR r.rollout = :rollout)
      AND (:since IS NULL OR r.received_s >= :since)
    ORDER BY r.received_s, r.made_s, r.attempt, r.report_id
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
    """A report and what the server knows of it; `received_s` is seconds since 1970."""

    node: str
    device: int
    release: int
    rollout: str
    received_s: float
    report: PersonalisationReport

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


def stored_reports(database: Database, selection: Selection) -> Iterator[StoredReport]:
    """The reports of a selection in the order of their arrival.

    Raises:
        ConfigurationError: there is no rollout of that name.
        StorageError: a stored report is not one that this program knows.
    """
    rollout = None if selection.rollout is None else _rollout_number(database, selection.rollout)
    values = {"release": selection.release, "rollout": rollout, "since": selection.since_s}
    for row in database.connection.execute(_QUERY, values):
        try:
            report = PersonalisationReport.model_validate_json(row["fields"])
        except ValidationError:
            raise StorageError(
                f"a report of device {row['device']} in the fleet's database cannot be read; was a later version of "
                "this program here?"
            ) from None
        name = row["rollout_name"] or (f"rollout {row['rollout']}" if row["rollout"] else BY_ITSELF)
        yield StoredReport(row["node"], row["device"], row["release_version"], name, row["received_s"], report)
