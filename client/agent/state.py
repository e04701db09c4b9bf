"""A device's memory of its orders, and of reports that wait for the server.

The tables are bounded: one row for each of the last orders, the newest reports, one report a device and release.
"""

import json
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.agent.database import AgentDatabase
from client.agent.standing import Standing
from tinytrain_core.errors import EgressError
from tinytrain_core.orders import MAX_REPORT_ID, Delivery, Envelope
from tinytrain_core.report import PersonalisationReport, validate_report

log = logging.getLogger(__name__)

KEPT_ORDERS = 200


@dataclass(frozen=True)
class Order:
    """An order as it was written down. Rollout 0 is what the device does by itself.

    Attributes:
        position: in the order of arrival; 0 before it is written.
        until_s: seconds since 1970 after which it is not begun; expires_s: as its release.
        proven: its backbone has been loaded; ended: every device has reported.
    """

    rollout: int
    attempt: int
    version: int
    digest: str
    settings: str
    arrived_s: float
    valid_s: float
    until_s: float
    expires_s: float
    manifest: str = ""
    signatures: str = "{}"
    position: int = 0
    proven: bool = False
    ended: bool = False


@dataclass(frozen=True)
class Filed:
    """A report to be written down: as it may leave, and whether the device keeps a delta of its own."""

    report: PersonalisationReport
    adapted: bool


def _delivery(envelope: str, report: str) -> Delivery | None:
    """A report as it was written down; None where an older version of the program wrote what is not valid now."""
    try:
        fields = validate_report(json.loads(report))
        return Delivery(envelope=Envelope.model_validate_json(envelope), report=fields)
    except (ValueError, EgressError):
        return None


class AgentState(AgentDatabase):
    """Orders and reports. Every method raises StorageError where the disk fails; then nothing has changed."""

    def __init__(
        self, file: Path, devices: Sequence[int] = (), max_reports: int = 1_000, read_only: bool = False
    ) -> None:
        super().__init__(file, devices, read_only)
        self._max_reports = max_reports

    def _order(self, where: str, values: Sequence[Any] = ()) -> Order | None:
        row = self._connection.execute(f"SELECT * FROM orders {where} LIMIT 1", values).fetchone()
        if row is None:
            return None
        return Order(**{**dict(row), "proven": bool(row["proven"]), "ended": bool(row["ended"])})

    def running(self) -> Order | None:
        """The order that has not ended."""
        return self._order("WHERE ended = 0 ORDER BY position DESC")

    def last(self) -> Order | None:
        """The last order that the server gave."""
        return self._order("WHERE rollout > 0 ORDER BY position DESC")

    def seen(self, rollout: int, attempt: int) -> Order | None:
        """The order of that name, if it was ever accepted."""
        return self._order("WHERE rollout = ? AND attempt = ?", (rollout, attempt))

    def done(self, order: Order) -> set[int]:
        """The devices that have reported on it."""
        rows = self._connection.execute("SELECT device FROM done WHERE position = ?", (order.position,))
        return {int(row[0]) for row in rows}

    def adopt(self, order: Order, standing: Standing | None = None, left: Sequence[PersonalisationReport] = ()) -> None:
        """Make `order` the one that runs, and end the one before with the reports `left` of its devices."""
        before = self.running()
        with self._transaction(standing) as connection:
            if before is not None:
                self._insert_reports(before, [Filed(report, False) for report in left], order.arrived_s)
            connection.execute("UPDATE orders SET ended = 1 WHERE ended = 0")
            connection.execute("DELETE FROM tries")
            fields = {name: value for name, value in vars(order).items() if name != "position"}
            marks = ", ".join("?" * len(fields))
            connection.execute(f"INSERT INTO orders ({', '.join(fields)}) VALUES ({marks})", tuple(fields.values()))
            connection.execute(
                "DELETE FROM orders WHERE position <= (SELECT max(position) FROM orders) - ?", (KEPT_ORDERS,)
            )
            if order.rollout == 0:
                self._set_fact("local", order.attempt)

    def amend(self, order: Order, **changes: Any) -> None:
        """Change `until_s` or `proven` of an order."""
        with self._transaction() as connection:
            for name, value in changes.items():
                connection.execute(f"UPDATE orders SET {name} = ? WHERE position = ?", (value, order.position))

    def tries(self, device: int) -> int:
        """How often a device was begun for the running order."""
        row = self._connection.execute("SELECT count FROM tries WHERE device = ?", (device,)).fetchone()
        return 0 if row is None else int(row[0])

    def count_try(self, device: int, by: int = 1) -> None:
        """Count that a device is about to begin; -1 takes it back, where it was not the device that ended it."""
        with self._transaction():
            self._count_try(device, by)

    def _count_try(self, device: int, by: int) -> None:
        count = max(self.tries(device) + by, 0)
        self._connection.execute("INSERT OR REPLACE INTO tries VALUES (?, ?)", (device, count))

    def file(
        self,
        order: Order,
        reports: Sequence[Filed],
        now_s: float,
        standing: Standing | None = None,
        ended: bool = False,
        next_device: int | None = None,
    ) -> None:
        """Write reports of an order down, once for each device, and with the last of them that it has ended.

        Args:
            standing: where the order's end changes it.
            next_device: which device is begun after this one.
        """
        with self._transaction(standing) as connection:
            self._insert_reports(order, reports, now_s)
            if next_device is not None:
                self._count_try(next_device, 1)
            if ended:
                connection.execute("UPDATE orders SET ended = 1 WHERE position = ?", (order.position,))
                self._set_fact("ended_s", now_s)

    def _insert_reports(self, order: Order, reports: Sequence[Filed], now_s: float) -> None:
        done = self.done(order)
        for filed in (filed for filed in reports if filed.report.device not in done):
            device = filed.report.device
            self._connection.execute("INSERT INTO done VALUES (?, ?)", (order.position, device))
            envelope = Envelope(
                report_id=1 + secrets.randbelow(MAX_REPORT_ID),
                rollout=order.rollout,
                attempt=order.attempt,
                version=order.version,
                made=max(int(now_s), 0),
            )
            report = filed.report.model_dump_json()
            self._connection.execute(
                "INSERT INTO outbox (report_id, envelope, report) VALUES (?, ?, ?)",
                (envelope.report_id, envelope.model_dump_json(), report),
            )
            if filed.report.error == 0:
                remembered = (device, order.digest, filed.adapted, report)
                self._connection.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?, ?)", remembered)
        self._trim()

    def _trim(self) -> None:
        surplus = self.pending() - self._max_reports
        if surplus > 0:
            oldest = "SELECT position FROM outbox ORDER BY position LIMIT ?"
            self._connection.execute(f"DELETE FROM outbox WHERE position IN ({oldest})", (surplus,))
            self._set_fact("dropped", self.number("dropped") + surplus)

    def pending(self) -> int:
        """Reports that wait."""
        return int(self._connection.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def deliveries(self, most: int) -> list[Delivery]:
        """The oldest reports that wait."""
        rows = self._connection.execute("SELECT * FROM outbox ORDER BY position LIMIT ?", (most,)).fetchall()
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

    def remembered(self, device: int, digest: str) -> Filed | None:
        """The last report of a device on a release that did not fail."""
        row = self._connection.execute(
            "SELECT * FROM remembered WHERE device = ? AND digest = ?", (device, digest)
        ).fetchone()
        delivery = None if row is None else _delivery(Envelope(report_id=1).model_dump_json(), row["report"])
        return None if delivery is None else Filed(delivery.report, bool(row["adapted"]))

    def forget(self, keep: set[str]) -> None:
        """Forget what was reported on other releases than those in `keep`."""
        with self._transaction() as connection:
            marks = ", ".join("?" * len(keep))
            connection.execute(f"DELETE FROM remembered WHERE digest NOT IN ({marks})", tuple(keep))
