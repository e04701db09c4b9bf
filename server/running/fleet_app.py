"""The controller of an operated fleet as a Flower app: its link to the nodes over Flower's Grid.

`tinytrain-server up` runs it. Which messages there are, and what follows from the answers, is
`server/fleet/controller.py`'s; this carries them and survives the SuperLink's absence.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supercore.run import RunNotRunningException
from flwr.superlink.grid import http_grid

from server.app import file_record, records_of
from server.clock import SystemClock
from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.controller import Controller
from server.fleet.link import Records
from server.releases.registry import Registry
from server.running.logs import file_handler
from tinytrain_core import wire
from tinytrain_core.orders import SyncRequest

TTL_GRACE_S = 60.0  # after a message's time, until its answer is no longer waited for
ONE_BY_ONE_S = 600.0  # how long answers are fetched singly after one that could not be read
CONTENTS_S = 5.0  # that the contents of an answer may come after it; without this a node could hold up all others
Reply = tuple[int, Records | None]

http_grid.pull_objects = partial(pull_objects, max_time=CONTENTS_S)  # type: ignore[attr-defined]
log = logging.getLogger("tinytrain.controller")


class GridLink:
    """Sends messages to nodes and fetches what they answer. No failure of the network is an error here."""

    def __init__(self, grid: Grid, stop: threading.Event) -> None:
        self._grid, self._stop = grid, stop
        self._sent: dict[str, tuple[int, float]] = {}  # by message id: the node, and until when it may answer
        self._backbone: tuple[bytes, ArrayRecord] | None = None
        self._singly_until_s = 0.0

    def online(self) -> frozenset[int]:
        """The nodes that the SuperLink hears of; none where it cannot be asked."""
        try:
            return frozenset(self._grid.get_node_ids())
        except RunNotRunningException:
            self._ended()
        except httpx.HTTPError as error:
            log.warning("the SuperLink cannot be asked for its nodes: %s", error)
        return frozenset()

    def send(self, node_id: int, kind: str, request: SyncRequest, backbone: bytes | None, ttl_s: float) -> str | None:
        """Send a node a request.

        Args:
            kind: Flower's message type.
            backbone: a file to go with it.
            ttl_s: seconds after which it is worth nothing any more.

        Returns:
            The message's id; None where it could not be handed to the SuperLink.
        """
        records = RecordDict({wire.REQUEST_RECORD: ConfigRecord(request.model_dump())})
        if backbone is not None:
            records[wire.BACKBONE_RECORD] = self._record(backbone)
        try:
            ids = list(self._grid.push_messages([Message(records, node_id, kind, ttl=ttl_s)]))
        except RunNotRunningException:
            self._ended()
            return None
        except httpx.HTTPError as error:
            log.warning("%s to node %d could not be sent: %s", kind, node_id, error)
            return None
        if not ids or not ids[0]:
            log.warning("the SuperLink did not take %s to node %d; is it still registered?", kind, node_id)
            return None
        self._sent[ids[0]] = node_id, time.monotonic() + ttl_s + TTL_GRACE_S
        return ids[0]

    def replies(self) -> list[Reply]:
        """What nodes have answered since the last call, each by its node; None for records is a failure."""
        now_s = time.monotonic()
        late = [key for key, (_, until_s) in self._sent.items() if until_s < now_s]
        found: list[Reply] = [(self._sent.pop(key)[0], None) for key in late]
        try:
            return found + list(self._fetched(now_s))
        except RunNotRunningException:
            self._ended()
        except httpx.HTTPError as error:
            log.warning("answers cannot be fetched: %s", error)
        return found

    def _fetched(self, now_s: float) -> Iterator[Reply]:
        if now_s < self._singly_until_s:
            for key in list(self._sent):
                yield from self._fetched_singly(key)
            return
        try:
            replies = list(self._pull(self._sent))
        except (httpx.HTTPError, RunNotRunningException):
            raise
        except Exception as error:  # noqa: BLE001 - what a node sent could not be put together, however
            log.error("a node's answer cannot be read (%s); answers are fetched one by one", type(error).__name__)
            self._singly_until_s = now_s + ONE_BY_ONE_S
            return
        yield from replies

    def _fetched_singly(self, key: str) -> list[Reply]:
        try:
            return list(self._pull([key]))
        except (httpx.HTTPError, RunNotRunningException):
            raise
        except Exception as error:  # noqa: BLE001 - as above, and now it is known whose it was
            node, _ = self._sent.pop(key)
            log.error("the answer of node %d cannot be read (%s)", node, type(error).__name__)
            return [(node, {})]

    def _pull(self, keys: Iterable[str]) -> Iterator[Reply]:
        """Fetch the answers to messages of these ids."""
        wanted = list(keys)
        if not wanted:
            return
        for reply in self._grid.pull_messages(wanted):
            if sent := self._sent.pop(reply.metadata.reply_to_message_id, None):
                yield sent[0], records_of(reply)

    def _record(self, backbone: bytes) -> ArrayRecord:
        """The file's record, made once: Flower stores one object for all nodes."""
        if self._backbone is None or self._backbone[0] is not backbone:
            self._backbone = backbone, file_record(backbone)
        return self._backbone[1]

    def _ended(self) -> None:
        log.warning("the SuperLink has ended this run")
        self._stop.set()


@contextmanager
def _own_log(config: FleetConfig) -> Iterator[None]:
    """Everything that this process logs goes into the fleet's folder, and not, line by line, to the SuperLink."""
    handler = file_handler(config.state / "logs", "controller")
    flower, root = logging.getLogger("flwr"), logging.getLogger()
    before = list(flower.handlers)
    for other in before:
        flower.removeHandler(other)
    flower.propagate = True
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every request
    root.setLevel(logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
        for other in before:
            flower.addHandler(other)


def run(grid: Grid, config: FleetConfig, run_id: int) -> None:
    """Control a fleet until the run is stopped.

    Raises:
        ConfigurationError: the fleet trusts nobody yet.
        StorageError: the fleet's database cannot be used, or another controller is at work.
    """
    stop = threading.Event()
    registry = Registry(config.releases, config.line)
    with _own_log(config):
        try:
            with Controller(config, GridLink(grid, stop), SystemClock(), registry, str(run_id)) as controller:
                controller.run(stop.is_set)
        except Exception:
            log.exception("the controller failed")
            raise
        finally:
            log.info("run %d ends", run_id)


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """What Flower calls: the fleet is named in the run's configuration."""
    run(grid, load_fleet_config(Path(str(context.run_config["fleet"]))), context.run_id)
