"""Watches what SuperLink and proxy log, and tells the operator of everybody who was turned away."""

import logging
import math
import threading
import time
from dataclasses import dataclass, field

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import nodes
from server.running.logs import ACCESS_LOG, ERROR_LOG, turn_over_proxy_logs
from server.running.refusals import Refusal, Told, from_proxy, from_proxy_error, from_superlink
from server.running.tail import Tail
from tinytrain_core.errors import StorageError
from tinytrain_core.node_key import public_pem

LOOK_S = 1.0
KEYS_KEPT_S = 10.0
TURN_OVER_S = 60.0


@dataclass
class RefusalWatch:
    """Tells of refusals in the supervisor's log. Lines of the SuperLink may come from another thread."""

    config: FleetConfig
    log: logging.Logger
    _told: Told = field(default_factory=Told)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _names: dict[str, str] = field(default_factory=dict)
    _names_s: float = -math.inf
    _looked_s: float = -math.inf
    _turned_s: float = -math.inf

    def __post_init__(self) -> None:
        logs = self.config.state / "logs"
        self._access, self._errors = Tail(logs / ACCESS_LOG), Tail(logs / ERROR_LOG)

    def superlink_line(self, text: str) -> None:
        """A line that the SuperLink printed."""
        refusal = from_superlink(text, self._name_of)
        # Behind a proxy a 401 is told from the proxy's log, which knows why.
        if refusal and not (refusal.kind == "401" and self._access.file.exists()):
            self._tell(refusal)

    def look(self, now_s: float) -> None:
        """Read what the proxy has logged since the last look; `now_s` is of `time.monotonic`."""
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for line in self._access.lines():
            self._tell(from_proxy(line, self._name_of))
        for line in self._errors.lines():
            self._tell(from_proxy_error(line))
        if now_s - self._turned_s > TURN_OVER_S:
            self._turned_s = now_s
            turn_over_proxy_logs(self._access.file.parent)

    def _tell(self, refusal: Refusal | None) -> None:
        if refusal is None:
            return
        with self._lock:
            is_new = self._told.is_new(refusal, time.monotonic())
        if is_new:
            self.log.warning("refused: %s", refusal.text)

    def _name_of(self, pem: str) -> str | None:
        """The node that has a key; the list of them is read again every few seconds."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._names_s > KEYS_KEPT_S:
                self._names, self._names_s = self._read_names(), now_s
            return self._names.get(pem.strip())

    def _read_names(self) -> dict[str, str]:
        try:
            with Database(self.config.database) as database:
                return {public_pem(node.public_key).decode().strip(): node.name for node in nodes(database)}
        except StorageError:
            return self._names
