"""What state each device is in, for the people who run the fleet; nothing of how well any of them classifies.

That a device kept its base backbone would tell that adapting to its images made it worse: here it is `ok`.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from server.fleet.database import Database
from server.fleet.nodes import HostedDevice, Node, nodes
from server.fleet.reports.rows import error_name, outcome_name
from server.words import age
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeState, NodeStatus
from tinytrain_core.report import Outcome

OK = "ok"  # of a device that did not fail, whatever became of it
_LAST = "SELECT device, outcome, error, MAX(received_s) AS received_s FROM reports GROUP BY device"
_REFUSALS = """
    SELECT f.at_s, f.node, f.error, f.reason, f.rollout, o.name AS rollout_name
    FROM refusals AS f LEFT JOIN rollouts AS o ON o.id = f.rollout
    WHERE (:since IS NULL OR f.at_s >= :since) AND (:node IS NULL OR f.node = :node)
    ORDER BY f.at_s DESC, f.id DESC LIMIT :limit
"""


@dataclass(frozen=True)
class DeviceState:
    """A device and its node, as they were when the node last spoke. Ages are seconds before now.

    Attributes:
        device: its number; None for a node without devices.
        stale: the node has been silent for too long; a node that never spoke is.
        release: version of the release in use; 0 is none.
        order: what the node does about its order, and what it said of the last one if it refused that.
        pending, dropped: reports that wait on the node, and that it lost because too many waited.
        clock_skew_s: by how much the node's clock is ahead.
        last: what became of the device's last order, `ok` or its failure.
    """

    device: int | None
    node: str
    device_class: str
    tags: tuple[str, ...]
    release: int
    seen_s: float | None
    stale: bool
    order: str
    rollout: str
    attempt: int
    pending: int
    dropped: int
    restarts: int
    clock_skew_s: float | None
    last: str
    last_report_s: float | None

    def row(self) -> dict[str, Any]:
        """For programs."""
        return {"class" if name == "device_class" else name: value for name, value in vars(self).items()}


def _order(status: NodeStatus | None) -> str:
    if status is None:
        return ""
    if status.refused != ErrorCode.NONE:
        return f"refused: {error_name(status.refused)}"
    return NodeState(status.state).name.lower().replace("_", " ")


def _last(row: sqlite3.Row | None) -> str:
    if row is None:
        return ""
    return f"{outcome_name(Outcome.FAILED)}: {error_name(row['error'])}" if row["outcome"] == Outcome.FAILED else OK


def _skew(node: Node) -> float | None:
    """The clock of a status against the server's when it arrived, whole seconds against fractions of them."""
    if node.status is None or node.last_seen_s is None or not node.status.clock:
        return None
    return float(node.status.clock - round(node.last_seen_s))


def device_states(database: Database, now_s: float, stale_after_s: float) -> list[DeviceState]:
    """The devices of every node that may connect, by node and number.

    Args:
        stale_after_s: seconds of silence after which a node counts as stale.
    """
    last = {row["device"]: row for row in database.rows(_LAST)}
    names = {row["id"]: row["name"] for row in database.rows("SELECT id, name FROM rollouts")}
    return [
        _state(node, device, last.get(device.number) if device else None, names, now_s, stale_after_s)
        for node in nodes(database)
        for device in node.devices or (None,)
    ]


def _state(
    node: Node,
    device: HostedDevice | None,
    last: sqlite3.Row | None,
    rollouts: Mapping[int, str],
    now_s: float,
    stale_after_s: float,
) -> DeviceState:
    status = node.status or NodeStatus()
    seen = None if node.last_seen_s is None else max(now_s - node.last_seen_s, 0.0)
    return DeviceState(
        device=device.number if device else None,
        node=node.name,
        device_class=device.profile if device else "",
        tags=node.tags,
        release=status.version,
        seen_s=seen,
        stale=seen is None or seen > stale_after_s,
        order=_order(node.status),
        rollout=rollouts.get(status.rollout, "") if status.rollout else "",
        attempt=status.attempt,
        pending=status.pending,
        dropped=status.dropped,
        restarts=status.restarts,
        clock_skew_s=_skew(node),
        last=_last(last),
        last_report_s=None if last is None else max(now_s - last["received_s"], 0.0),
    )


def device_cells(state: DeviceState) -> dict[str, str]:
    """For a person."""
    order = f"{state.order} ({state.rollout}, attempt {state.attempt})" if state.rollout else state.order
    skew = "" if state.clock_skew_s is None else f"{state.clock_skew_s:+.0f} s"
    waiting = f"{state.pending}" + (f", {state.dropped} lost" if state.dropped else "")
    return {
        "device": "" if state.device is None else str(state.device),
        "node": state.node,
        "class": state.device_class,
        "tags": ", ".join(state.tags),
        "release": str(state.release or ""),
        "seen": age(state.seen_s) + (", STALE" if state.stale else ""),
        "order": order,
        "waiting": waiting,
        "restarts": str(state.restarts),
        "clock": skew,
        "last report": f"{state.last}, {age(state.last_report_s)}" if state.last else "",
    }


def refusals(
    database: Database, since_s: float | None = None, node: str | None = None, limit: int = 200
) -> list[dict[str, Any]]:
    """What nodes sent that was not valid, and orders that they refused, the latest first; `at_s` is since 1970."""
    rows = database.connection.execute(_REFUSALS, {"since": since_s, "node": node, "limit": limit})
    return [
        {
            "at_s": row["at_s"],
            "node": row["node"],
            "rollout": row["rollout_name"] or "",
            "error": error_name(row["error"]),
            "reason": row["reason"],
        }
        for row in rows
    ]
