"""What a device does about a server's orders, as plain data: no connection, no torch, no threads.

Nothing that a disk does to it ends the process: what cannot be written is refused, and tried again.
"""

import logging
from pathlib import Path

from client.agent.acceptance import DAY_S, Acceptance
from client.agent.conditions import Conditions
from client.agent.config import STATE_FILE, AgentConfig
from client.agent.database import DAMAGED
from client.agent.opening import settle
from client.agent.respondent import status_of
from client.agent.retry import Retry
from client.agent.runner import OrderRunner
from client.agent.state import AgentState, Order
from client.agent.work import Starter
from client.config import NodeConfig
from client.egress import check_answer
from tinytrain_core.configuration import read_yaml_file
from tinytrain_core.errors import ErrorCode, StorageError, TinyTrainError
from tinytrain_core.orders import Answer, OrderRequest, SyncRequest
from tinytrain_core.release import Trust, parse_trust
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
        """Open the state to orders.

        Raises:
            StorageError: it holds what may not leave, and cannot be written.
        """
        self._config, self._node, self._state = config, node, state
        self._runner = OrderRunner(config, node, state, start, conditions or Conditions.of(config))
        self._acceptance = Acceptance(config, node, trust, state, self._runner)
        self._retry, self._warned_s = Retry(), 0.0
        settle(state, config, node, trust)

    def order(self, request: OrderRequest, backbone: bytes | None, now_s: float) -> ErrorCode:
        """Take an order; the code says why it was refused, NONE that it is written down.

        Args:
            backbone: the file, if the server sent it.
        """
        try:
            self._state.acknowledge(request.acknowledged)
            self._acceptance.take(request, backbone, now_s)
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

    def tick(self, now_s: float) -> None:
        """Go on with what there is to do; a disk that is full is tried again, and a damaged state begun anew."""
        if not self._retry.due(now_s):
            return
        try:
            if self._state.damaged:
                self._runner.abandon()
                self._state.begin_anew(self._state.standing, DAMAGED)
            self._runner.tick(now_s)
            self._work_alone(now_s)
            self._warn_of_age(now_s)
        except StorageError as error:
            if self._retry.failed(now_s):
                log.error("%s", error)
        else:
            self._retry.worked()

    def _warn_of_age(self, now_s: float) -> None:
        """Say once a day that the release in use has expired: nobody has given a newer one."""
        release = self._state.standing.in_use
        if 0 < release.expires < now_s and abs(now_s - self._warned_s) >= DAY_S:
            days = (now_s - release.expires) / DAY_S
            log.warning("release %d is in use and expired %.0f days ago; no newer one has come", release.version, days)
            self._warned_s = now_s

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
        try:
            answer = self._answer(digest, refused, now_s)
        except StorageError as error:
            log.error("%s", error)
            return Answer(status=status_of(self._node, None, ErrorCode.STORAGE, now_s))
        return check_answer(answer, [device.number for device in self._node.devices])

    def _answer(self, digest: str, refused: ErrorCode, now_s: float) -> Answer:
        status = status_of(self._node, self._state, refused, now_s)
        held = self._acceptance.held(digest) is not None
        status = status.model_copy(update={"holds_backbone": int(held), "state": int(self._runner.status)})
        return Answer(status=status, deliveries=tuple(self._state.deliveries(ANSWERED_AT_ONCE)))

    def news(self) -> bool:
        """Whether reports wait that should not wait any longer: the order has ended, or they fill an answer."""
        try:
            pending = self._state.pending()
            return pending >= ANSWERED_AT_ONCE or (pending > 0 and self._state.running() is None)
        except StorageError:
            return False

    def busy(self) -> bool:
        """Whether there is an order, or a report that waits, as far as that can be read."""
        try:
            return self._state.running() is not None or self._state.pending() > 0
        except StorageError:
            return False

    def working(self) -> bool:
        """Whether a worker is there, at work or paused."""
        return self._runner.working

    def stop(self) -> None:
        """End the worker; what it was at begins again the next time."""
        self._runner.stop()
