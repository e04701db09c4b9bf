"""Flower's `Grid` over our own workers and virtual time: the very same ServerApp and ClientApp run at any scale.

Everything that was sent is computed before the clock moves on. What became of it is then placed in time by the world,
in the order of (time, node, number): so neither the number of workers nor how fast they are can be seen in a result.
"""

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from client.config import NodeConfig
from server.app import TTL_GRACE_S
from simulations.answers import Answer
from simulations.clock import VirtualClock
from simulations.computing import Computing, OnComputed, Outcome, Sent
from simulations.contents import Contents
from simulations.executors.executor import Executor
from simulations.records import METRICS, numbers
from simulations.remembered import Remembered
from simulations.serving import RUN, SERVER, identify
from simulations.world.visit import Fate, Visit
from simulations.world.world import World

ROUNDING_S = 1e-6  # of times since 1970; whoever waits for one looks this much later, when it has surely come


class FleetGrid(Grid):
    """The nodes of a simulated fleet, as a server sees them.

    Args:
        nodes: by partition id; Flower's number of a node is one more.
        app: `module:name` of the ClientApp, which workers import.
        executor: of `simulations.serving.FUNCTION`; who made it ends it.
        run_config: what apps find in their context.
        remembered: replies of a run that was cut short.
        on_computed: told of each message as its computing ends, in wall time and in no order.

    Attributes:
        visits: what became of every message, in the order of (sent_s, node, number).
    """

    def __init__(
        self,
        nodes: Sequence[NodeConfig],
        app: str,
        world: World,
        clock: VirtualClock,
        executor: Executor,
        *,
        run_config: Mapping[str, Any] | None = None,
        remembered: Remembered | None = None,
        on_computed: OnComputed = lambda *_: None,
    ) -> None:
        self.visits: list[Visit] = []
        self._size, self._world, self._clock = len(nodes), world, clock
        self._contents = Contents(executor)
        self._computing = Computing(nodes, app, executor, run_config or {}, remembered, on_computed)
        self._counts: dict[str, dict[int, int]] = {}  # messages so far, by kind and node
        self._last = 0  # message's number
        self._computed = True  # whether everything that was sent is
        self._arriving: list[tuple[float, int, Answer]] = []  # a heap, the next to arrive first
        self._arrived: dict[str, Answer] = {}
        self._events: list[float] = []  # a heap of the times at which somebody may want to look
        clock.watch(self._upcoming)

    def set_run(self, run: Run) -> None:
        """There is only one run."""

    @property
    def run(self) -> Run:
        """Flower's description of the run, which is empty."""
        return Run.create_empty(RUN)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Make a message, as Flower's strategies of before did."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that are online now."""
        return [node + 1 for node in self._world.online_nodes(self._clock.now_s())]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, now. One to a node that does not exist is not accepted, and its id is not returned."""
        out = [self._sent(m) for m in messages if 1 <= m.metadata.dst_node_id <= self._size]
        self._computed = self._computed and not out
        self._computing.begin(out)
        return [sent.message_id for sent in out]

    def _sent(self, message: Message) -> Sent:
        """A message as it goes out."""
        metadata = message.metadata
        self._last += 1
        metadata.__dict__["_message_id"] = str(self._last)  # as Flower's own grids do
        node, kind = metadata.dst_node_id - 1, metadata.message_type
        counts = self._counts.setdefault(kind, {})
        number = counts[node] = counts.get(node, 0) + 1
        fate, content = self._world.fate(node, kind, number), self._contents.of(message.content)
        now_s, ttl_s = self._clock.now_s(), metadata.ttl
        reached = self._world.next_online_s(node, now_s, now_s + ttl_s) is not None
        return Sent(self._last, node, kind, number, metadata.group_id, now_s, ttl_s, fate, reached, content)

    def _settle(self) -> None:
        """Compute what was sent, and place it in time."""
        if self._computed:
            return
        outcomes = self._computing.finish()
        self._contents.clear()
        self._computed = True
        for sent, outcome in sorted(outcomes, key=lambda found: (found[0].sent_s, found[0].node, found[0].key)):
            self._visit(sent, outcome)

    def _visit(self, sent: Sent, outcome: Outcome) -> None:
        """What becomes of a message in the world."""
        told = numbers(outcome.reply.records)
        works = self._world.works(sent.node, told) if told else ()
        sizes = sent.content.size_bytes, outcome.reply.size_bytes
        visit = self._world.visit(sent.node, sent.kind, sent.number, sent.sent_s, sent.ttl_s, sent.fate, *sizes, works)
        if outcome.cause and not visit.cause:
            visit = replace(visit, cause=outcome.cause)
        self.visits.append(visit)
        deadline_s = sent.sent_s + sent.ttl_s - TTL_GRACE_S
        if visit.arrived_s is None or visit.arrived_s > deadline_s:
            heappush(self._events, deadline_s + ROUNDING_S)
        if visit.arrived_s is not None:
            heappush(self._events, visit.arrived_s)
            heappush(self._arriving, (visit.arrived_s, sent.key, self._answer(sent, outcome, visit)))

    def _answer(self, sent: Sent, outcome: Outcome, visit: Visit) -> Answer:
        records = outcome.reply.records
        if records is not None and sent.fate is Fate.ANSWERS:
            said = self._world.reply(sent.node, sent.number, numbers(records))
            records = {n: r for n, r in records.items() if r[0] != METRICS} | {n: (METRICS, r) for n, r in said.items()}
        return Answer(sent, records, outcome.reply.error, visit.cause)

    def _upcoming(self) -> float | None:
        """When something happens next: an answer arrives, a deadline passes, or, with nobody there, nodes come."""
        self._settle()
        now_s = self._clock.now_s()
        while self._events and self._events[0] <= now_s:
            heappop(self._events)
        if self._events:
            return self._events[0]
        return None if self._world.online_nodes(now_s) else self._world.next_change_s(now_s)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers to these messages that have arrived by now, each once, in the order of their arrival."""
        wanted = message_ids if isinstance(message_ids, AbstractSet) else set(message_ids)
        self._settle()
        now_s = self._clock.now_s()
        while self._arriving and self._arriving[0][0] <= now_s:
            _, _, answer = heappop(self._arriving)
            self._arrived[answer.sent.message_id] = answer
        for message_id in [key for key, late in self._arrived.items() if late.expired(now_s) and key not in wanted]:
            del self._arrived[message_id]
        found = [message_id for message_id in self._arrived if message_id in wanted]
        return [self._arrived.pop(message_id).message(now_s) for message_id in found]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages, and wait until all have answered, or `timeout` virtual seconds have passed.

        Without a timeout it waits no longer than until nothing more can come.
        """
        wanted = set(self.push_messages(messages))
        end_s = inf if timeout is None else self._clock.now_s() + timeout
        if timeout is not None:
            heappush(self._events, end_s)
        found = list(self._pulled(wanted))
        while wanted and self._clock.now_s() < end_s and (timeout is not None or self._arriving):
            self._clock.sleep(0.0)
            found += self._pulled(wanted)
        if end_s in self._events:  # nobody wants to look at that time any more
            self._events.remove(end_s)
            heapify(self._events)
        return found

    def _pulled(self, wanted: set[str]) -> Iterator[Message]:
        """The answers that have arrived, which are no longer wanted then."""
        for answer in self.pull_messages(wanted):
            wanted.discard(answer.metadata.reply_to_message_id)
            yield answer


@contextmanager
def server_identity() -> Iterator[None]:
    """Let this process make messages as a server does, and be again what it was before."""
    before = TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id
    identify(SERVER)
    try:
        yield
    finally:
        TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id = before


@contextmanager
def _old_things_aside() -> Iterator[None]:
    """Spare the garbage collector what was there before; looking at it takes a third of the time of a large fleet."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def run_server(app: ServerApp, grid: Grid, run_config: Mapping[str, Any] | None = None) -> None:
    """Call a ServerApp as Flower does.

    Raises:
        Exception: whatever the app raises.
    """
    with server_identity(), _old_things_aside():
        app(grid, Context(RUN, SERVER, {}, RecordDict(), dict(run_config or {})))
