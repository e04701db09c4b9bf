"""What orders start at simulated nodes: computed once it is known to be wanted, ended when the world lets it end."""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from client.agent.worker import Job
from client.config import NodeConfig
from simulations.rehearsal.account import Account
from simulations.rehearsal.computing import Computing
from simulations.rehearsal.earlier import Earlier
from simulations.rehearsal.events import Events
from simulations.rehearsal.folder import node_name
from simulations.rehearsal.node import SimulatedAgent, VirtualWork
from simulations.rehearsal.world import RehearsedWorld
from simulations.world.visit import Fate, Visit
from tinytrain_core.orders import TRAIN_ORDER, OrderRequest
from tinytrain_core.report import validate_report
from tinytrain_core.wire import report_record

LONGEST_S = 31 * 86_400.0  # that a work which has begun may wait for power, or to be heard of
CRASHED = 9  # the exit code of a worker that the world ends
WORK = f"{TRAIN_ORDER}.work"  # as its visits are called


class Workshop:
    """The works of all nodes, which are named by their partition id here.

    Args:
        events: say what time it is. account: gets what the works cost.
    """

    def __init__(
        self, nodes: Sequence[NodeConfig], world: RehearsedWorld, computing: Computing, events: Events, account: Account
    ) -> None:
        self._nodes, self._world, self._computing = nodes, world, computing
        self._events, self._account = events, account
        self._begun: Counter[int] = Counter()
        self.earlier: Earlier | None = None  # where it matters what was in use before

    def foresee(self, node: int, request: OrderRequest, position: int) -> None:
        """Begin to compute what the order at that position is answered with, unless the node will drop out of it."""
        if self._world.fate(node, TRAIN_ORDER, position) is Fate.DROPS_OUT:
            return
        self._computing.begin(self._nodes[node], request.request().model_copy(update={"digest": request.digest}))
        if self.earlier is not None:
            self.earlier.begin(self._nodes[node])

    def begin(self, node: int, agent: SimulatedAgent, job: Job) -> VirtualWork:
        """A worker begins: what it will have computed, and when the world lets it end."""
        now_s, order = self._events.now_s, agent.state.running()
        fate = self._world.fate(node, TRAIN_ORDER, order.position if order else 1)
        records = {} if fate is Fate.DROPS_OUT else self._records(node, job)
        works = self._world.works(node, records)
        self._begun[node] += 1
        visit = self._world.visit(node, WORK, self._begun[node], now_s, LONGEST_S, fate, 0, 0, works)
        self._account.add(visit)
        told = [json.dumps({"report": record}).encode() for record in records.values()]
        code = CRASHED if fate is Fate.CRASHES else 0
        digest = job.request.digest

        def learnt(line: bytes) -> None:
            agent.store.learnt(validate_report(json.loads(line)["report"]), digest)

        return VirtualWork(
            now_s, visit.arrived_s, told, lambda: self._events.now_s, code, learnt, partial(self._cut, visit)
        )

    def _records(self, node: int, job: Job) -> dict[str, dict[str, Any]]:
        """What the devices will report; what they reported before is then known to the server."""
        if self.earlier is not None:
            self.earlier.write(node_name(node), job.node)
        reports = self._computing.reports(job.node, job.request)
        return {report_record(place): report.model_dump() for place, report in enumerate(reports)}

    def _cut(self, visit: Visit, left: float) -> None:
        """A work ends before its time: what it would have cost is not spent."""
        self._world.interrupted(visit.works, left, self._events.now_s)
        self._account.nodes[visit.node].energy_j -= left * sum(work.energy_j for work in visit.works)
