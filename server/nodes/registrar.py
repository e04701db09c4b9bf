"""Registers at the SuperLink, beside the supervision, the nodes that the operator adds."""

import logging
import math
import threading
import time
from dataclasses import dataclass, field

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.nodes.registration import Changes, pending, reconcile
from server.running.service import Pauses
from tinytrain_core.errors import FleetError, StorageError

LOOK_S = 2.0
CHECK_S = 3_600.0  # after which the two lists are compared though the database alone asks for nothing
END_S = 5.0
LONGEST_PAUSE_S = 600.0  # between two attempts at what the SuperLink does not do


@dataclass
class Registrar:
    """Brings the SuperLink's list of nodes in line with the database's, in a thread of its own.

    What it could not do it tries again after pauses that grow, and tells of once; another node that is added
    meanwhile does not wait.
    """

    config: FleetConfig
    log: logging.Logger
    _thread: threading.Thread | None = None
    _looked_s: float = -math.inf
    _done_s: float = -math.inf
    _pauses: Pauses = field(default_factory=lambda: Pauses(first_s=LOOK_S, longest_s=LONGEST_PAUSE_S))
    _stuck: frozenset[tuple[str, str]] = frozenset()
    _told: frozenset[str] = frozenset()

    def tick(self, database: Database) -> None:
        """Begin, where there is something to do; the SuperLink answers."""
        now_s = time.monotonic()
        if (self._thread and self._thread.is_alive()) or now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        asked = pending(database)
        is_due = bool(asked) or now_s - self._done_s >= CHECK_S
        if asked - self._stuck or (is_due and now_s >= self._pauses.next_s):
            self._thread = threading.Thread(target=self._reconcile, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait for what is under way, a little."""
        if self._thread:
            self._thread.join(END_S)

    def _reconcile(self) -> None:
        try:
            with Database(self.config.database) as database:
                asked = pending(database)
                self._stuck = asked  # unless it is done below
                changes = reconcile(self.config, database)
                self._stuck = asked & pending(database)
        except (FleetError, StorageError) as error:
            pause_s = self._pauses.failed(time.monotonic())
            self.log.error("nodes could not be registered: %s; again in %.1f s", error, pause_s)
            return
        self._done_s = time.monotonic()
        self._tell(changes)
        if self._stuck:
            self._pauses.failed(self._done_s)
        else:
            self._pauses.failures, self._pauses.next_s = 0, 0.0

    def _tell(self, changes: Changes) -> None:
        for name in changes.registered:
            self.log.info("node %s was registered", name)
        for name in changes.unregistered:
            self.log.info("node %s was unregistered", name)
        warnings = changes.warnings()
        for warning in warnings:
            if warning not in self._told:
                self.log.warning("%s", warning)
        self._told = frozenset(warnings)
