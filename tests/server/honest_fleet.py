"""Nodes that speak the fleet's real messages, in memory and in virtual time, and a link to them.

A node keeps what a real one has on its disk: what it holds, its order, its reports. The link belongs to one run of the
controller and forgets with it what was on its way.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from server.fleet.link import Records
from tinytrain_core.errors import ErrorCode, ReleaseError
from tinytrain_core.orders import (
    TRAIN_ORDER,
    Answer,
    Delivery,
    Envelope,
    NodeState,
    NodeStatus,
    OrderRequest,
    SyncRequest,
)
from tinytrain_core.release import Held, Trust, check_file, verify
from tinytrain_core.report import Outcome, PersonalisationReport, failure

Look = Callable[[str, int], None]


class VirtualClock:
    """A clock that only `sleep` and `jump` move."""

    def __init__(self) -> None:
        self.wall, self.steady = float(int(time.time())), 0.0

    def now_s(self) -> float:
        return self.wall

    def monotonic_s(self) -> float:
        return self.steady

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def good(device: int, version: int) -> PersonalisationReport:
    """Every device gains, each a little differently."""
    after = 0.7 + 0.01 * (device % 5)
    return PersonalisationReport(device=device, outcome=Outcome.ADAPTED, accuracy_before=0.5, accuracy_after=after)


def worse(device: int, version: int) -> PersonalisationReport:
    """Release 2 loses accuracy."""
    if version != 2:
        return good(device, version)
    return PersonalisationReport(device=device, outcome=Outcome.KEPT_BASE, accuracy_before=0.5, accuracy_after=0.3)


@dataclass
class HonestNode:
    """A node and its disk.

    Attributes:
        work_s: seconds that an order takes; never where it is infinite.
        told: every message that it took in: its kind, the version of the order, the attempt, bytes of weights.
        lie: changes the records of an answer before they leave.
    """

    number: int
    devices: tuple[int, ...]
    trust: Trust
    report: Callable[[int, int], PersonalisationReport] = good
    work_s: float = 20.0
    online: bool = True
    state: NodeState = NodeState.WORKING
    clock_off_s: float = 0.0
    lie: Callable[[dict[str, dict[str, Any]]], dict[str, dict[str, Any]]] = lambda records: records
    held: Held = field(default_factory=Held)
    backbones: set[str] = field(default_factory=set)
    told: list[tuple[str, int, int, int]] = field(default_factory=list)
    outbox: dict[int, Delivery] = field(default_factory=dict)
    made: list[int] = field(default_factory=list)
    order: OrderRequest | None = None
    version: int = 0
    done_s: float = 0.0
    ended: bool = True
    asked: str = ""
    refused: int = 0

    def take(self, kind: str, request: SyncRequest, backbone: bytes | None, now_s: float) -> None:
        for report_id in request.acknowledged:
            self.outbox.pop(report_id, None)
        self.asked, self.refused = request.digest, 0
        if kind != TRAIN_ORDER:
            self.told.append((kind, 0, 0, 0))
            return
        order = OrderRequest.model_validate(request.model_dump())
        self.refused = self._begin(order, backbone, now_s)

    def _begin(self, order: OrderRequest, backbone: bytes | None, now_s: float) -> int:
        try:
            manifest = verify(
                order.manifest.encode(), order.signature_map(), self.trust, now_s + self.clock_off_s, (1, 0, 0)
            )
            held = self.held.accept(manifest)
        except ReleaseError as error:
            return error.code
        self.told.append((TRAIN_ORDER, manifest.version, order.attempt, len(backbone or b"")))
        if backbone is not None:
            check_file(manifest, backbone)
            self.backbones.add(manifest.digest)
        if manifest.digest not in self.backbones:
            return ErrorCode.BACKBONE_MISSING
        mine = (self.order.rollout, self.order.attempt) if self.order else (0, 0)
        if (order.rollout, order.attempt) <= mine:
            return ErrorCode.NONE
        self._close(ErrorCode.SUPERSEDED, now_s)
        self.held, self.order, self.version = held, order, manifest.version
        self.done_s, self.ended = now_s + self.work_s, False
        return ErrorCode.NONE

    def _close(self, error: ErrorCode, now_s: float) -> None:
        """End the order that runs, with an error or with its reports."""
        if self.order is None or self.ended:
            return
        for device in self.devices:
            report = failure(error, device) if error else self.report(device, self.version)
            self.deliver(report, self.order.rollout, self.order.attempt, self.version, now_s)
        self.ended = True

    def deliver(self, report: PersonalisationReport, rollout: int, attempt: int, version: int, now_s: float) -> None:
        report_id = random.Random(f"{self.number} {len(self.made)}").randrange(1, 2**62)
        self.made.append(report_id)
        about = Envelope(report_id=report_id, rollout=rollout, attempt=attempt, version=version, made=int(now_s))
        self.outbox[report_id] = Delivery(envelope=about, report=report)

    def works(self, now_s: float) -> None:
        if not self.ended and now_s >= self.done_s:
            self._close(ErrorCode.NONE, now_s)

    @property
    def has_news(self) -> bool:
        return bool(self.outbox or self.refused or self.ended)

    def answer(self, now_s: float) -> dict[str, dict[str, Any]]:
        deliveries = tuple(self.outbox.values())[:150]
        status = NodeStatus(
            devices=len(self.devices),
            holds_backbone=int(self.asked in self.backbones),
            version=self.held.version,
            highest=self.held.highest,
            rollout=self.order.rollout if self.order else 0,
            attempt=self.order.attempt if self.order else 0,
            state=NodeState.IDLE if self.ended else self.state,
            refused=self.refused,
            pending=len(self.outbox),
            clock=int(now_s + self.clock_off_s),
        )
        return self.lie(Answer(status=status, deliveries=deliveries).records())


class MemoryLink:
    """A link to honest nodes. `look` is called before each message leaves and after it has arrived."""

    def __init__(self, nodes: dict[int, HonestNode], clock: VirtualClock, look: Look = lambda when, node: None) -> None:
        self._nodes, self._clock, self._look = nodes, clock, look
        self._out: dict[int, tuple[float, float]] = {}

    def online(self) -> set[int]:
        return {number for number, node in self._nodes.items() if node.online}

    def send(self, node_id: int, kind: str, request: SyncRequest, backbone: bytes | None, ttl_s: float) -> str | None:
        assert node_id not in self._out, "two messages to a node at the same time"
        self._look(f"before {kind}", node_id)
        now_s = self._clock.now_s()
        node = self._nodes[node_id]
        if node.online:
            node.works(now_s)
            node.take(kind, request, backbone, now_s)
        until_s = now_s + (request.hold_s if node.online else ttl_s)
        self._look(f"after {kind}", node_id)
        self._out[node_id] = (until_s, now_s + ttl_s)
        return f"{node_id} {now_s}"

    def replies(self) -> list[tuple[int, Records | None]]:
        now_s, found = self._clock.now_s(), list[tuple[int, Records | None]]()
        for number, (hold_until_s, ttl_until_s) in list(self._out.items()):
            node = self._nodes[number]
            if not node.online:
                if now_s >= ttl_until_s:
                    found.append((number, None))
                    del self._out[number]
                continue
            node.works(now_s)
            if node.has_news or now_s >= hold_until_s:
                found.append((number, node.answer(now_s)))
                del self._out[number]
        return found
