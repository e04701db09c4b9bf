"""What a device does about a server's orders, as plain data: no connection, no torch, no threads.

An order is checked (signatures, manifest, expiry and clock, this program's version, monotonic version, the file),
its backbone is stored and the order written down, before it is answered. A device always has a backbone that works:
the old one stays in use until the new one has been loaded by the process that personalises.
"""

import logging
from pathlib import Path

from client.agent.conditions import Conditions
from client.agent.config import STATE_FILE, AgentConfig
from client.agent.respondent import CLIENT, status_of
from client.agent.runner import OrderRunner
from client.agent.state import AgentState, Order
from client.agent.work import Starter
from client.config import NodeConfig
from client.egress import check_answer
from client.store import Store
from tinytrain_core.configuration import read_yaml_file
from tinytrain_core.errors import BackboneMissingError, ErrorCode, RequestError, StorageError, TinyTrainError
from tinytrain_core.orders import Answer, OrderRequest, SyncRequest
from tinytrain_core.release import Manifest, Trust, check_file, parse_trust, verify
from tinytrain_core.wire import PersonaliseRequest

log = logging.getLogger(__name__)

ANSWERED_AT_ONCE = 20  # reports in one answer; each is two objects, and Flower sends each in a request of its own


def load_trust(file: Path) -> Trust:
    """Whose releases the device accepts.

    Raises:
        ConfigurationError: there is no such file, or it names nobody; without trust nothing is started.
    """
    return parse_trust(read_yaml_file(file, "`tinytrain-client enrol` writes one"), str(file))


def state_file(config: AgentConfig, node: NodeConfig) -> Path:
    """Where a device keeps its orders."""
    return config.state or node.store / STATE_FILE


class Agent:
    """A node's devices at the orders of a server."""

    def __init__(
        self,
        config: AgentConfig,
        node: NodeConfig,
        trust: Trust,
        state: AgentState,
        start: Starter,
        conditions: Conditions | None = None,
    ) -> None:
        self._config, self._node, self._trust, self._state = config, node, trust, state
        self._store = Store(node.store)
        self._runner = OrderRunner(config, node, state, start, conditions or Conditions.of(config))

    def order(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> ErrorCode:
        """Take an order; the code says why it was refused, NONE that it is written down.

        Args:
            backbone: the file, if the server sent it.
        """
        try:
            self._state.acknowledge(request.acknowledged)
            if self._state.seen(request.rollout, request.attempt) is None:
                self._accept(request, backbone, now_s)
        except TinyTrainError as error:
            log.error("order %d.%d is refused (%s): %s", request.rollout, request.attempt, error.code.name, error)
            return error.code
        return ErrorCode.NONE

    def sync(self, request: SyncRequest) -> ErrorCode:
        """Forget the reports that the server has stored."""
        try:
            self._state.acknowledge(request.acknowledged)
        except StorageError as error:
            log.error("the outbox cannot be written: %s", error)
            return error.code
        return ErrorCode.NONE

    def _accept(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> None:
        """Check an order, keep its backbone, write it down.

        Raises:
            TinyTrainError: it is refused, and nothing that was in use has changed.
        """
        standing = self._state.standing
        manifest = verify(
            request.manifest.encode(errors="replace"),
            request.signature_map(),
            self._trust,
            now_s,
            CLIENT,
            standing.accepted.created,
        )
        accepted = standing.accept(manifest)
        data = self._checked_file(request, manifest, backbone)
        self._runner.stop()
        self._make_room(manifest.digest)
        if backbone is not None:
            self._store.save_backbone(manifest.digest, data)
        running = self._state.running()
        left = self._runner.failures(running, ErrorCode.SUPERSEDED) if running and running.rollout else []
        self._state.adopt(_order(request, manifest, now_s), accepted, left)
        log.info("order %d.%d is accepted: release %d", request.rollout, request.attempt, manifest.version)

    def _checked_file(self, request: OrderRequest, manifest: Manifest, backbone: bytes | None) -> bytes:
        """The backbone of an order, sent or held.

        Raises:
            RequestError: the settings are about another backbone.
            BackboneMissingError: it is neither here nor sent.
            ManifestError: the file is not the one that was signed.
        """
        if request.request().digest != manifest.digest:
            raise RequestError("the order's settings and its manifest name two backbones; one was meant")
        data = backbone if backbone is not None else self._store.backbone(manifest.digest)
        if data is None:
            raise BackboneMissingError(f"the store does not hold {manifest.digest}, and none was sent")
        check_file(manifest, data)
        return data

    def _make_room(self, target: str) -> None:
        """Remove all releases but the one in use, the one that comes, and, until that is a new one, the one before."""
        standing = self._state.standing
        known = {standing.in_use.digest, standing.previous.digest, standing.accepted.digest} - {""}
        keep = known if target in known else {standing.in_use.digest, target} - {""}
        self._store.prune(keep | {target})
        self._state.forget(keep | {target})

    def tick(self, now_s: float) -> None:
        """Go on with what there is to do; a disk that is full is tried again."""
        try:
            self._runner.tick(now_s)
            self._work_alone(now_s)
        except StorageError as error:
            log.error("%s", error)

    def _work_alone(self, now_s: float) -> None:
        """Personalise once more by itself, with the release in use and the settings of the last order."""
        standing, period_s = self._state.standing, self._config.local_every_h * 3_600
        if not period_s or not standing.in_use.version or self._state.running() is not None:
            return
        if abs(now_s - float(self._state.fact("ended_s", "0"))) < period_s:
            return
        last = self._state.last()
        settings = last.settings if last else PersonaliseRequest(digest=standing.in_use.digest).model_dump_json()
        order = Order(
            rollout=0,
            attempt=self._state.number("local") + 1,
            version=standing.in_use.version,
            digest=standing.in_use.digest,
            settings=settings,
            arrived_s=now_s,
            valid_s=period_s,
            until_s=now_s + period_s,
            expires_s=now_s + period_s,
        )
        self._state.adopt(order)

    def answer(self, digest: str, refused: ErrorCode, now_s: float) -> Answer:
        """What the server is told, checked to be numbers about this node's devices.

        Args:
            digest: of a backbone that the server asks about; empty is none.
        """
        status = status_of(self._node, self._state, refused, now_s)
        held = bool(digest) and self._store.backbone(digest) is not None
        status = status.model_copy(update={"holds_backbone": int(held), "state": int(self._runner.status)})
        answer = Answer(status=status, deliveries=tuple(self._state.deliveries(ANSWERED_AT_ONCE)))
        return check_answer(answer, [device.number for device in self._node.devices])

    def news(self) -> bool:
        """Whether reports wait that should not wait any longer: the order has ended, or they fill an answer."""
        pending = self._state.pending()
        return pending >= ANSWERED_AT_ONCE or (pending > 0 and self._state.running() is None)

    def busy(self) -> bool:
        """Whether there is an order, or a report that waits."""
        return self._state.running() is not None or self._state.pending() > 0

    def stop(self) -> None:
        """End the worker; what it was at begins again the next time."""
        self._runner.stop()


def _order(request: OrderRequest, manifest: Manifest, now_s: float) -> Order:
    return Order(
        rollout=request.rollout,
        attempt=request.attempt,
        version=manifest.version,
        digest=manifest.digest,
        manifest=request.manifest,
        signatures=request.signatures,
        settings=request.settings,
        arrived_s=now_s,
        valid_s=request.valid_s,
        until_s=now_s + request.valid_s,
        expires_s=float(manifest.expires),
    )
