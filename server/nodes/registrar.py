"""Registers at the SuperLink, beside the supervision, the nodes that the operator adds."""

import logging
import threading
import time
from dataclasses import dataclass, field

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.nodes.registration import pending, reconcile
from server.running.service import Pauses
from tinytrain_core.errors import FleetError, StorageError

LOOK_S = 2.0
CHECK_S = 3_600.0  # after which the two lists are compared though the database alone asks for nothing
END_S = 5.0


@dataclass
class Registrar:
    """Brings the SuperLink's list of nodes in line with the database's, in a thread of its own."""

    config: FleetConfig
    log: logging.Logger
    _thread: threading.Thread | None = None
    _looked_s: float = -LOOK_S
    _done_s: float = -CHECK_S
    _pauses: Pauses = field(default_factory=Pauses)

    def tick(self, database: Database) -> None:
        """Begin, where there is something to do; the SuperLink answers."""
        now_s = time.monotonic()
        if (self._thread and self._thread.is_alive()) or now_s - self._looked_s < LOOK_S or now_s < self._pauses.next_s:
            return
        self._looked_s = now_s
        if now_s - self._done_s >= CHECK_S or pending(database):
            self._thread = threading.Thread(target=self._reconcile, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait for what is under way, a little."""
        if self._thread:
            self._thread.join(END_S)

    def _reconcile(self) -> None:
        try:
            with Database(self.config.database) as database:
                changes = reconcile(self.config, database)
        except (FleetError, StorageError) as error:
            pause_s = self._pauses.failed(time.monotonic())
            self.log.error("nodes could not be registered: %s; again in %.1f s", error, pause_s)
            return
        self._done_s = time.monotonic()
        for name in changes.registered:
            self.log.info("node %s was registered", name)
        for name in changes.unregistered:
            self.log.info("node %s was unregistered", name)
        for warning in changes.warnings():
            self.log.warning("%s", warning)
