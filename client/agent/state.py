"""A device's memory of its orders; reports that wait for the server are in its outbox.

The tables are bounded: one row for each of the last orders, the newest reports, one report a device and release.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from client.agent.config import MAX_ORDERS_PER_DAY
from client.agent.outbox import Filed, Outbox
from client.agent.standing import Standing
from tinytrain_core.report import PersonalisationReport

KEPT_ORDERS = MAX_ORDERS_PER_DAY
FORGET_OWN = "DELETE FROM orders WHERE rollout = 0 AND ended = 1"  # nobody will ask about them
FORGET_OLD = """
DELETE FROM orders WHERE rollout > 0 AND position NOT IN (
    SELECT position FROM orders WHERE rollout > 0 ORDER BY position DESC LIMIT ?
)
"""


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
    position: int = 0
    proven: bool = False
    ended: bool = False


class AgentState(Outbox):
    """Orders and reports. Every method raises StorageError where the disk fails; then nothing has changed."""

    def _order(self, where: str, values: Sequence[Any] = ()) -> Order | None:
        for row in self._rows(f"SELECT * FROM orders {where} LIMIT 1", values):
            return Order(**{**dict(row), "proven": bool(row["proven"]), "ended": bool(row["ended"])})
        return None

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
        return {int(row[0]) for row in self._rows("SELECT device FROM done WHERE position = ?", (order.position,))}

    def arrived(self, since_s: float, until_s: float) -> int:
        """How many of the server's orders have arrived between two times."""
        return self._count(
            "SELECT count(*) FROM orders WHERE rollout > 0 AND arrived_s > ? AND arrived_s < ?", (since_s, until_s)
        )

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
            connection.execute(FORGET_OWN)
            connection.execute(FORGET_OLD, (KEPT_ORDERS,))
            if order.rollout == 0:
                self._set_fact("local", order.attempt)

    def amend(self, order: Order, **changes: Any) -> None:
        """Change `until_s` or `proven` of an order."""
        with self._transaction() as connection:
            for name, value in changes.items():
                connection.execute(f"UPDATE orders SET {name} = ? WHERE position = ?", (value, order.position))

    def tries(self, device: int) -> int:
        """How often a device was begun for the running order."""
        return self._count("SELECT sum(count) FROM tries WHERE device = ?", (device,))

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
                connection.execute(FORGET_OWN)
                self._set_fact("ended_s", now_s)

    def _insert_reports(self, order: Order, reports: Sequence[Filed], now_s: float) -> None:
        done, made = self.done(order), max(int(now_s), 0)
        for filed in (filed for filed in reports if filed.report.device not in done):
            self._connection.execute("INSERT INTO done VALUES (?, ?)", (order.position, filed.report.device))
            about = {"rollout": order.rollout, "attempt": order.attempt, "version": order.version, "made": made}
            self._insert(filed, order.digest, about)
        self._trim()
