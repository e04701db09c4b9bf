"""What a device keeps on its disk, kept in memory instead: its orders and reports, its backbones and deltas.

The agent's own code runs on both. `tests/simulations/test_rehearsal_node.py` holds them against what is on a disk.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from client.agent.outbox import Filed, Protect
from client.agent.standing import Standing
from client.agent.state import KEPT_ORDERS, AgentState, Order
from client.store import Store
from tinytrain_core.orders import MAX_REPORT_ID, Delivery, Envelope
from tinytrain_core.report import Outcome, PersonalisationReport

NOWHERE = Path("/nowhere")  # no simulated node has files


@dataclass(frozen=True)
class MemoryStore(Store):
    """Backbones by digest, each one object for all nodes, and which devices have a delta."""

    held: dict[str, bytes] = field(default_factory=dict)
    adapted: set[tuple[int, str]] = field(default_factory=set)

    def save_backbone(self, backbone: str, data: bytes) -> None:
        """Keep what was checked already."""
        self.held[backbone] = data

    def backbone(self, backbone: str) -> bytes | None:
        """The backbone with that digest; None if it is not held."""
        return self.held.get(backbone)

    def prune(self, keep: Collection[str]) -> None:
        """Forget backbones and deltas of digests that are not in `keep`."""
        for digest in self.held.keys() - set(keep):
            del self.held[digest]
        self.adapted.intersection_update({key for key in self.adapted if key[1] in keep})

    def learnt(self, report: PersonalisationReport, backbone: str) -> None:
        """A device has personalised: it holds a delta, or uses the base, or has what it had."""
        key = (report.device, backbone)
        if report.outcome == Outcome.ADAPTED:
            self.adapted.add(key)
        elif report.outcome != Outcome.FAILED:
            self.adapted.discard(key)

    def delta(self, device: int, backbone: str) -> bytes | None:
        """Something where the device has a delta for that backbone; what it holds is of no interest here."""
        return b"" if (device, backbone) in self.adapted else None


class MemoryState(AgentState):
    """Orders and reports of one node.

    Args:
        seed: names the ids of its reports, which are no two nodes' the same.
    """

    def __init__(self, seed: str, max_reports: int = 1_000) -> None:  # no database is opened
        self.standing, self.damaged = Standing(), False
        self._seed, self._most, self._made = seed, max_reports, 0
        self._facts: dict[str, str] = {}
        self._orders: list[Order] = []
        self._position = 0
        self._finished: dict[int, set[int]] = {}
        self._tries: dict[int, int] = {}
        self._waiting: list[Delivery] = []
        self._told: dict[tuple[int, str], Filed] = {}

    def close(self) -> None:
        """Nothing is open."""

    def fact(self, name: str, default: str) -> str:
        return self._facts.get(name, default)

    def note(self, **facts: object) -> None:
        self._facts |= {name: str(value) for name, value in facts.items()}

    def keep(self, standing: Standing) -> None:
        self.standing = standing

    def begin_anew(self, standing: Standing, why: str) -> None:
        MemoryState.__init__(self, self._seed, self._most)
        self.standing = standing

    @property
    def next_position(self) -> int:
        """That of the order which is adopted next."""
        return self._position + 1

    def running(self) -> Order | None:
        return next((order for order in reversed(self._orders) if not order.ended), None)

    def last(self) -> Order | None:
        return next((order for order in reversed(self._orders) if order.rollout > 0), None)

    def seen(self, rollout: int, attempt: int) -> Order | None:
        return next((order for order in self._orders if (order.rollout, order.attempt) == (rollout, attempt)), None)

    def done(self, order: Order) -> set[int]:
        return set(self._finished.get(order.position, ()))

    def arrived(self, since_s: float, until_s: float) -> int:
        return sum(order.rollout > 0 and since_s < order.arrived_s < until_s for order in self._orders)

    def adopt(self, order: Order, standing: Standing | None = None, left: Sequence[PersonalisationReport] = ()) -> None:
        if (before := self.running()) is not None:
            self._take(before, [Filed(report, False) for report in left], order.arrived_s)
        self._position += 1
        self._tries.clear()
        kept = [replace(other, ended=True) for other in self._orders][-KEPT_ORDERS + 1 :]
        self._orders = [*kept, replace(order, position=self._position)]
        kept_positions = {other.position for other in self._orders}
        self._finished = {at: done for at, done in self._finished.items() if at in kept_positions}
        self.standing = standing or self.standing

    def amend(self, order: Order, **changes: Any) -> None:
        changes = {name: bool(value) if name == "proven" else value for name, value in changes.items()}
        self._orders = [replace(o, **changes) if o.position == order.position else o for o in self._orders]

    def tries(self, device: int) -> int:
        return self._tries.get(device, 0)

    def count_try(self, device: int, by: int = 1) -> None:
        self._tries[device] = max(self.tries(device) + by, 0)

    def file(
        self,
        order: Order,
        reports: Sequence[Filed],
        now_s: float,
        standing: Standing | None = None,
        ended: bool = False,
        next_device: int | None = None,
    ) -> None:
        self._take(order, reports, now_s)
        if next_device is not None:
            self.count_try(next_device)
        if ended:
            self.amend(order, ended=True)
            self.note(ended_s=now_s)
        self.standing = standing or self.standing

    def _take(self, order: Order, reports: Sequence[Filed], now_s: float) -> None:
        """Write reports down, once for each device."""
        done, made = self._finished.setdefault(order.position, set()), max(int(now_s), 0)
        for filed in (filed for filed in reports if filed.report.device not in done):
            done.add(filed.report.device)
            about = Envelope(
                report_id=self._report_id(),
                rollout=order.rollout,
                attempt=order.attempt,
                version=order.version,
                made=made,
            )
            self._waiting.append(Delivery(envelope=about, report=filed.report))
            if filed.report.error == 0:
                self._told[filed.report.device, order.digest] = filed
        if (surplus := len(self._waiting) - self._most) > 0:
            del self._waiting[:surplus]
            self.note(dropped=self.number("dropped") + surplus)

    def _report_id(self) -> int:
        self._made += 1
        named = sha256(f"{self._seed} {self._made}".encode()).digest()
        return 1 + int.from_bytes(named[:8], "big") % MAX_REPORT_ID

    def pending(self) -> int:
        return len(self._waiting)

    def deliveries(self, most: int) -> list[Delivery]:
        return self._waiting[:most]

    def acknowledge(self, report_ids: Sequence[int]) -> None:
        if report_ids and self._waiting:
            known = set(report_ids)
            self._waiting = [delivery for delivery in self._waiting if delivery.envelope.report_id not in known]

    def settle(self, devices: Sequence[int], protect: Protect | None) -> None:
        """Nothing waits when a simulated node begins."""

    def remembered(self, device: int, digest: str) -> Filed | None:
        return self._told.get((device, digest))

    def forget(self, keep: set[str]) -> None:
        self._told = {key: filed for key, filed in self._told.items() if key[1] in keep}
