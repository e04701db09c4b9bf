"""Reports that wait for the server, until it says that it has stored them; and the last of each device and release.

What waits was made fit to leave when it was written; `settle` makes it so again when the node's settings have changed.
"""

import json
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.agent.database import AgentDatabase
from client.agent.standing import Standing
from tinytrain_core.errors import EgressError
from tinytrain_core.orders import MAX_REPORT_ID, Delivery, Envelope
from tinytrain_core.report import Outcome, PersonalisationReport, validate_report

log = logging.getLogger(__name__)

Protect = Callable[[PersonalisationReport, Standing], tuple[PersonalisationReport, Standing]]


@dataclass(frozen=True)
class Filed:
    """A report to be written down: as it may leave, and whether the device keeps a delta of its own."""

    report: PersonalisationReport
    adapted: bool


def _report(text: str) -> PersonalisationReport | None:
    """A report as it was written down; None where an older version of the program wrote what is not valid now."""
    try:
        return validate_report(json.loads(text))
    except (ValueError, TypeError, EgressError):
        return None


def _delivery(envelope: str, text: str) -> Delivery | None:
    report = _report(text)
    try:
        return None if report is None else Delivery(envelope=Envelope.model_validate_json(envelope), report=report)
    except ValueError:
        return None


class Outbox(AgentDatabase):
    """The reports. Every method raises StorageError where the disk fails; then nothing has changed."""

    def __init__(
        self, file: Path, devices: Sequence[int] = (), max_reports: int = 1_000, read_only: bool = False
    ) -> None:
        super().__init__(file, devices, read_only)
        self._max_reports = max_reports

    def _insert(self, filed: Filed, digest: str, about: Mapping[str, int]) -> None:
        """Write a report down, in a transaction; `about` is its envelope without an id."""
        envelope = Envelope(report_id=1 + secrets.randbelow(MAX_REPORT_ID), **about)
        report = filed.report.model_dump_json()
        self._connection.execute(
            "INSERT INTO outbox (report_id, envelope, report) VALUES (?, ?, ?)",
            (envelope.report_id, envelope.model_dump_json(), report),
        )
        if filed.report.error == 0:
            remembered = (filed.report.device, digest, filed.adapted, report)
            self._connection.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?)", remembered)

    def _trim(self) -> None:
        surplus = self.pending() - self._max_reports
        if surplus > 0:
            oldest = "SELECT position FROM outbox ORDER BY position LIMIT ?"
            self._connection.execute(f"DELETE FROM outbox WHERE position IN ({oldest})", (surplus,))
            self._set_fact("dropped", self.number("dropped") + surplus)

    def pending(self) -> int:
        """Reports that wait."""
        return self._count("SELECT count(*) FROM outbox")

    def deliveries(self, most: int) -> list[Delivery]:
        """The oldest reports that wait."""
        rows = self._rows("SELECT * FROM outbox ORDER BY position LIMIT ?", (most,))
        read = [(row["position"], _delivery(row["envelope"], row["report"])) for row in rows]
        if lost := [position for position, delivery in read if delivery is None]:
            log.error("%d waiting reports are not valid for this version of the program and are dropped", len(lost))
            self._drop(lost)
        return [delivery for _, delivery in read if delivery is not None]

    def _drop(self, positions: Sequence[int]) -> None:
        with self._transaction() as connection:
            connection.executemany("DELETE FROM outbox WHERE position = ?", [(position,) for position in positions])
            self._set_fact("dropped", self.number("dropped") + len(positions))

    def acknowledge(self, report_ids: Sequence[int]) -> None:
        """Forget reports that the server has stored."""
        if not report_ids or not self.pending():
            return
        with self._transaction() as connection:
            connection.executemany("DELETE FROM outbox WHERE report_id = ?", [(number,) for number in report_ids])

    def settle(self, devices: Sequence[int], protect: Protect | None) -> None:
        """Let no report wait that may not leave: of devices that are gone, and plain ones where none may be plain.

        Args:
            devices: the node's; reports of others are dropped and counted.
            protect: what makes a plain report one that may leave, and counts what it spends; None leaves them plain.
        """
        strange, changed, standing = list[int](), list[tuple[str, int]](), self.standing
        for row in self._rows("SELECT * FROM outbox ORDER BY position"):
            if (report := _report(row["report"])) is None:
                continue  # it is dropped when its turn comes
            if report.device not in devices:
                strange.append(row["position"])
            elif protect is not None and report.outcome != Outcome.WITHHELD:
                told, standing = protect(report, standing)
                changed.append((told.model_dump_json(), row["position"]))
        if strange:
            log.error("%d waiting reports are of devices that are not this node's and are dropped", len(strange))
            self._drop(strange)
        if protect is None:
            return
        with self._transaction(standing) as connection:
            connection.executemany("UPDATE outbox SET report = ? WHERE position = ?", changed)
            self._forget_plain()

    def _forget_plain(self) -> None:
        """Plain reports are not told a second time: the way back trains again instead."""
        for row in self._rows("SELECT device, digest, report FROM remembered"):
            report = _report(row["report"])
            if report is None or report.outcome != Outcome.WITHHELD:
                names = (row["device"], row["digest"])
                self._connection.execute("DELETE FROM remembered WHERE device = ? AND digest = ?", names)

    def remembered(self, device: int, digest: str) -> Filed | None:
        """The last report of a device on a release that did not fail."""
        rows = self._rows("SELECT * FROM remembered WHERE device = ? AND digest = ?", (device, digest))
        found = [(_report(row["report"]), bool(row["adapted"])) for row in rows]
        return next((Filed(told, adapted) for told, adapted in found if told is not None), None)

    def forget(self, keep: set[str]) -> None:
        """Forget what was reported on other releases than those in `keep`."""
        with self._transaction() as connection:
            marks = ", ".join("?" * len(keep))
            connection.execute(f"DELETE FROM remembered WHERE digest NOT IN ({marks})", tuple(keep))
