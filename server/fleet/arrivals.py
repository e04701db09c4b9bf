"""What nodes say, on its way into the database: each report once, and only of the node's own devices.

Everything here happens within one transaction of the caller, together with what the rollout makes of it.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from server.fleet.nodes import Node, seen
from server.fleet.rollout.figure import Figure, figure
from server.fleet.rollout.state import RolloutState
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import Answer, Delivery
from tinytrain_core.report import Outcome, PersonalisationReport

CLOCK_TOLERANCE_S = 300.0
QUIET_S = 3_600.0  # in which the same refusal is not written down again
DAY_S = 86_400.0
REPORTS_A_DAY, REPORTS_A_DAY_AND_DEVICE = 2_000, 50  # of one node; more are left with it, so that it fills no disk
_INSERT = """
    INSERT OR IGNORE INTO reports (node, report_id, rollout, attempt, release_version, device, profile, outcome, error,
                                   made_s, received_s, fields)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PREVIOUS = """
    SELECT fields FROM reports
    WHERE device = ? AND rollout <> ? AND release_version NOT IN (0, ?) AND outcome NOT IN (?, ?)
      AND release_version NOT IN (SELECT value FROM json_each(?))
    ORDER BY received_s DESC, made_s DESC, report_id DESC LIMIT 1
"""


@dataclass(frozen=True)
class Received:
    """What an answer brought.

    Attributes:
        stored: reports that were not there before; figures: those of the rollout's release among them.
        refused: the ids of reports that are refused for good, which the node may forget.
    """

    stored: int
    figures: tuple[Figure, ...]
    refused: tuple[int, ...] = ()


def refuse(connection: sqlite3.Connection, node: str, code: int, reason: str, now_s: float, rollout: int = 0) -> None:
    """Write down that something was refused, or that a node refused; the same only once an hour."""
    same = "SELECT 1 FROM refusals WHERE node = ? AND at_s > ? AND error = ? AND rollout = ? AND reason = ?"
    if connection.execute(same, (node, now_s - QUIET_S, code, rollout, reason)).fetchone() is None:
        connection.execute(
            "INSERT INTO refusals (node, at_s, rollout, error, reason) VALUES (?, ?, ?, ?, ?)",
            (node, now_s, rollout, code, reason),
        )


def _stored(connection: sqlite3.Connection, node: str, delivery: Delivery, now_s: float) -> bool:
    """Store a report; whether it was not there yet. One that comes again has to be acknowledged again."""
    about, report = delivery.envelope, delivery.report
    values = (
        *(node, about.report_id, about.rollout, about.attempt, about.version),
        *(report.device, report.profile, report.outcome, report.error, about.made, now_s, report.model_dump_json()),
    )
    if connection.execute(_INSERT, values).rowcount:
        return True
    connection.execute(
        "UPDATE reports SET acknowledged_s = NULL WHERE node = ? AND report_id = ?", (node, about.report_id)
    )
    return False


def _previous(
    connection: sqlite3.Connection, device: int, rollout: RolloutState, withdrawn: Collection[int]
) -> float | None:
    """The accuracy in use that a device last reported of another release, outside the rollout."""
    outcomes = (Outcome.FAILED, Outcome.WITHHELD)
    values = (device, rollout.number, rollout.version, *outcomes, json.dumps(sorted(withdrawn)))
    row = connection.execute(_PREVIOUS, values).fetchone()
    if row is None:
        return None
    report = PersonalisationReport.model_validate_json(row["fields"])
    return report.accuracy_after if report.outcome == Outcome.ADAPTED else report.accuracy_before


def _figures(
    connection: sqlite3.Connection,
    deliveries: Iterable[Delivery],
    rollout: RolloutState | None,
    withdrawn: Collection[int],
) -> tuple[Figure, ...]:
    """Figures of the rollout's release; a failure may have come before any release was in use."""
    if rollout is None:
        return ()
    return tuple(
        figure(delivery, _previous(connection, delivery.report.device, rollout, withdrawn))
        for delivery in deliveries
        if delivery.envelope.rollout == rollout.number
        and (delivery.envelope.version or rollout.version) == rollout.version
    )


def _room(connection: sqlite3.Connection, node: Node, now_s: float) -> int:
    """How many more reports of a node are taken now."""
    query = "SELECT count(*) FROM reports WHERE node = ? AND received_s > ?"
    (today,) = connection.execute(query, (node.name, now_s - DAY_S)).fetchone()
    return max(REPORTS_A_DAY + REPORTS_A_DAY_AND_DEVICE * len(node.devices) - int(today), 0)


def _foreign(connection: sqlite3.Connection, node: Node, answer: Answer, now_s: float) -> tuple[int, ...]:
    """The ids of reports that are none of the node's devices, which are refused for good; the operator sees why."""
    devices = {device.number for device in node.devices}
    foreign = [delivery for delivery in answer.deliveries if delivery.report.device not in devices]
    if foreign:
        numbers = sorted({delivery.report.device for delivery in foreign})
        named = f"{', '.join(map(str, numbers[:8]))}, which the fleet does not know as this node's"
        text = f"{len(foreign)} reports of device {named}; they are lost"
        refuse(connection, node.name, ErrorCode.EGRESS, text, now_s)
    return tuple(delivery.envelope.report_id for delivery in foreign)


def _acceptable(
    connection: sqlite3.Connection, node: Node, own: Sequence[Delivery], now_s: float
) -> Sequence[Delivery]:
    """The reports that may be stored; the others stay with the node until there is room."""
    room = _room(connection, node, now_s) if own else 0
    if len(own) > room:
        refuse(connection, node.name, ErrorCode.EGRESS, "more reports in a day than any node makes", now_s)
    return own[:room]


def receive(
    connection: sqlite3.Connection,
    node: Node,
    answer: Answer,
    rollout: RolloutState | None,
    now_s: float,
    withdrawn: Collection[int] = (),
) -> Received:
    """Store what a node said; with reports under releases that are `withdrawn` nothing is compared."""
    seen(connection, node.name, answer.status, now_s)
    ahead_s = answer.status.clock - now_s
    if answer.status.clock and abs(ahead_s) > CLOCK_TOLERANCE_S:
        text = f"its clock is {abs(ahead_s) / 60:.0f} minutes {'ahead' if ahead_s > 0 else 'behind'}"
        refuse(connection, node.name, ErrorCode.CLOCK, text, now_s)
    refused = _foreign(connection, node, answer, now_s)
    own = [delivery for delivery in answer.deliveries if delivery.envelope.report_id not in refused]
    accepted = _acceptable(connection, node, own, now_s)
    new = [delivery for delivery in accepted if _stored(connection, node.name, delivery, now_s)]
    return Received(len(new), _figures(connection, new, rollout, withdrawn), refused)


def to_acknowledge(connection: sqlite3.Connection, node: str, most: int) -> list[int]:
    """The ids of stored reports of which the node does not know it yet, the oldest first."""
    query = "SELECT report_id FROM reports WHERE node = ? AND acknowledged_s IS NULL ORDER BY received_s LIMIT ?"
    return [int(row[0]) for row in connection.execute(query, (node, most))]


def acknowledged(connection: sqlite3.Connection, node: str, report_ids: Iterable[int], now_s: float) -> None:
    """A node has answered a message that told it that these reports are stored."""
    connection.executemany(
        "UPDATE reports SET acknowledged_s = ? WHERE node = ? AND report_id = ?",
        [(now_s, node, report_id) for report_id in report_ids],
    )
