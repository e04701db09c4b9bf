"""What devices reported of the release that they used before the rollout, so that `max_drop` has what to compare with.

It is computed as their reports of the rollout are, for those devices alone that report of it, and costs the fleet
nothing: it was before the rehearsal began.
"""

import sqlite3

from client.config import NodeConfig
from simulations.rehearsal.computing import Computing
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.wire import PersonaliseRequest

_INSERT = """
    INSERT OR IGNORE INTO reports (node, report_id, rollout, attempt, release_version, device, profile, outcome, error,
                                   made_s, received_s, fields, acknowledged_s)
    VALUES (?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class Earlier:
    """The reports of the release in use, in the fleet's database by the time that they are asked for.

    Args:
        connection: of the controller, which would take another one's writing for an operator's.
        request: what devices were asked for with that release. version: the release's.
        at_s: when they reported, in seconds since 1970.
    """

    def __init__(
        self,
        computing: Computing,
        connection: sqlite3.Connection,
        request: PersonaliseRequest,
        version: int,
        at_s: float,
    ) -> None:
        self._computing, self._connection, self._request = computing, connection, request
        self._version, self._at_s = version, at_s

    def begin(self, node: NodeConfig) -> None:
        """Compute what a node's devices reported, without waiting for it."""
        self._computing.begin(node, self._request)

    def write(self, name: str, node: NodeConfig) -> None:
        """Let the server have it of the node of that name; outside of any transaction.

        Raises:
            FleetError: no process can be started any more.
        """
        reports = self._computing.reports(node, self._request)
        self._connection.executemany(_INSERT, [self._row(name, report) for report in reports])

    def _row(self, name: str, report: PersonalisationReport) -> tuple[object, ...]:
        about = (report.device, report.profile, report.outcome, report.error)
        at_s = self._at_s
        return (name, report.device, self._version, *about, at_s, at_s, report.model_dump_json(), at_s)
