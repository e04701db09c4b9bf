"""The controller's link to simulated nodes: a queue of what happens next at them, in virtual time.

A message has two ways, there and back, and what its order starts is a work between them; the simulated world places
each of the three in time. Node events before the next pass of the controller can be run ahead of the clock: nothing
that the controller does later can come before them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from client.agent.work import Starter
from client.agent.worker import Job
from client.config import NodeConfig
from server.fleet.link import Records
from simulations.clock import VirtualClock
from simulations.rehearsal.account import Account
from simulations.rehearsal.computing import Computing
from simulations.rehearsal.events import Events
from simulations.rehearsal.messages import Door
from simulations.rehearsal.node import SimulatedAgent, VirtualWork
from simulations.rehearsal.workshop import Workshop
from simulations.rehearsal.world import RehearsedWorld
from simulations.world.visit import Fate
from tinytrain_core.orders import QUERY_SYNC, OrderRequest, SyncRequest

LOST_AFTER_S = 60.0  # a message's time, until its answer is no longer waited for
ANSWER = f"{QUERY_SYNC}.answer"  # the way back, as visits are called
Make = Callable[[int, NodeConfig, Starter], SimulatedAgent]


def size_bytes(content: object) -> int:
    """Of a message's numbers and texts, as JSON."""
    return len(json.dumps(content, default=repr))


class SimulatedLink:
    """Nodes are named by their partition id + 1; they are made when they are first spoken to.

    Args:
        make: makes the agent of a node, from its partition id, its configuration and what begins its works.
        hold_s: that a question of the server's is held; longer ones count as that many more.
    """

    def __init__(
        self,
        nodes: Sequence[NodeConfig],
        world: RehearsedWorld,
        clock: VirtualClock,
        computing: Computing,
        make: Make,
        hold_s: float,
    ) -> None:
        self._nodes, self._world, self._clock = nodes, world, clock
        self._make, self._hold_s = make, hold_s
        self._doors: dict[int, Door] = {}
        self._numbers: dict[tuple[int, str], int] = {}
        self._events = Events(clock.now_s())
        self._arrived: list[tuple[float, int, Records | None]] = []
        self._present: tuple[float, frozenset[int]] = (0.0, frozenset())
        self.account = Account.of(len(nodes))
        self.workshop = Workshop(nodes, world, computing, self._events, self.account)

    def online(self) -> frozenset[int]:
        """The nodes that can be reached now."""
        now_s, (until_s, found) = self._clock.now_s(), self._present
        if now_s >= until_s:
            found = frozenset(node + 1 for node in self._world.online_nodes(now_s))
            change_s = self._world.next_change_s(now_s)
            self._present = (float("inf") if change_s is None else change_s, found)
        return found

    def busy(self, node_id: int) -> bool:
        """Whether a node has an order, or a report that waits."""
        door = self._doors.get(node_id - 1)
        return door is not None and door.agent.busy()

    def send(self, node_id: int, kind: str, request: SyncRequest, backbone: bytes | None, ttl_s: float) -> str | None:
        """Send a node a request; what it will compute is begun now, and waited for when its time has come."""
        now_s, node = self._clock.now_s(), node_id - 1
        self._events.passed(now_s)
        self.account.nodes[node].messages += 1
        size = size_bytes(request.model_dump())
        if isinstance(request, OrderRequest):
            door = self._doors.get(node)
            self.workshop.foresee(node, request, door.agent.state.next_position if door else 1)
        down = size + len(backbone or b"")
        number = self._number(node, kind)
        visit = self._world.visit(node, kind, number, now_s, ttl_s, Fate.ANSWERS, down, 0, ())
        self.account.add(visit)
        expires_s = now_s + ttl_s
        if visit.arrived_s is None or visit.arrived_s >= expires_s:
            self._lost(node, expires_s)
        else:
            self._events.later(visit.arrived_s, partial(self._take, node, request, backbone, size, expires_s))
        return f"{node_id} {kind} {number}"

    def replies(self) -> list[tuple[int, Records | None]]:
        """What has come back by now."""
        now_s = self._clock.now_s()
        self._events.run(now_s)
        ready = sorted(each for each in self._arrived if each[0] <= now_s) if self._arrived else []
        self._arrived = [each for each in self._arrived if each[0] > now_s]
        return [(node_id, records) for _, node_id, records in ready]

    def first_s(self, floor_s: float, until_s: float) -> float:
        """When the first answer is back, between the two times; infinite where none is."""
        self._events.run(floor_s)
        self._events.run(until_s, lambda next_s: any(at_s <= next_s for at_s, _, _ in self._arrived))
        return min((at_s for at_s, _, _ in self._arrived), default=float("inf"))

    def shorten(self, now_s: float) -> None:
        """End the long holds: each question is answered when it would have been, held for `hold_s` again and again."""
        for node, door in self._doors.items():
            question = door.question
            if question is not None and question.until_s - now_s > self._hold_s:
                question.until_s = now_s + self._hold_s - (now_s - question.taken_s) % self._hold_s
                self._events.later(question.until_s, partial(self._look, node))

    def _number(self, node: int, kind: str) -> int:
        number = self._numbers.get((node, kind), 0) + 1
        self._numbers[node, kind] = number
        return number

    def _lost(self, node: int, expires_s: float) -> None:
        self._events.later(expires_s + LOST_AFTER_S, lambda at_s: self._arrived.append((at_s, node + 1, None)))

    def _door(self, node: int) -> Door:
        if node not in self._doors:
            config = self._nodes[node]
            self._doors[node] = Door(config, self._make(node, config, partial(self._begin, node)))
        return self._doors[node]

    def _begin(self, node: int, job: Job) -> VirtualWork:
        return self.workshop.begin(node, self._doors[node].agent, job)

    def _take(
        self, node: int, request: SyncRequest, backbone: bytes | None, size: int, expires_s: float, now_s: float
    ) -> None:
        door = self._door(node)
        door.take(request, backbone, size, now_s, expires_s)
        self._look(node, now_s)
        if door.question is not None:
            self._events.later(door.question.until_s, partial(self._look, node))
        if isinstance(request, OrderRequest):
            self._wake(node, now_s)

    def _look(self, node: int, now_s: float) -> None:
        """Answer what is due; what came too late is never answered."""
        door = self._doors[node]
        if (question := door.question) is None:
            return
        answer = door.answer(now_s)
        if answer is None:
            if door.question is None:
                self._lost(node, question.expires_s)
            return
        records = self._world.reply(node, self._number(node, "reply"), answer.records())
        self._back(node, records, question.expires_s, now_s)
        again = int((now_s - question.taken_s) // self._hold_s) if self._hold_s else 0
        cost = self.account.nodes[node]
        cost.messages += again  # the questions and empty answers that a real server would have sent meanwhile
        cost.down_bytes += again * question.size_bytes
        cost.up_bytes += again * size_bytes(answer.status.model_dump())

    def _back(self, node: int, records: Mapping[str, Mapping[str, Any]], expires_s: float, now_s: float) -> None:
        number, size, ttl_s = self._number(node, ANSWER), size_bytes(records), expires_s - now_s
        visit = self.account.add(self._world.visit(node, ANSWER, number, now_s, ttl_s, Fate.ANSWERS, 0, size, ()))
        if visit.arrived_s is None or visit.arrived_s > expires_s:
            self._lost(node, expires_s)
        else:
            self._events.later(visit.arrived_s, lambda at_s: self._arrived.append((at_s, node + 1, records)))

    def _wake(self, node: int, now_s: float) -> None:
        """Let the agent go on, answer what there is news of, and come back when there is more to do."""
        agent = self._doors[node].agent
        agent.tick(now_s)
        self._look(node, now_s)
        if (at_s := agent.runner.wakes_s(now_s)) is not None:
            self._events.later(at_s, partial(self._wake, node))
