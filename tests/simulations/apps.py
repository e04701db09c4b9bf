"""ClientApps that the tests of the grid let nodes run, and the world that they are in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from client.config import DeviceConfig, NodeConfig, node_config_for
from simulations.clock import VirtualClock
from simulations.grid import FleetGrid
from simulations.remembered import Remembered
from simulations.serving import FUNCTION
from simulations.world.visit import Fate, Visit, Work
from simulations.world.world import World
from tests.simulations.jobs import Inline

APP = f"{__name__}:app"
COUNT, ADD, FAIL, NOTHING, FORGET = "query.count", "train.add", "query.fail", "query.nothing", "query.forget"

app = ClientApp()


@app.query("count")
def count(message: Message, context: Context) -> Message:
    """How many messages this node has had, which it is, and which device it hosts."""
    record = context.state.metric_records.get("count", MetricRecord({"messages": 0}))
    record["messages"] = cast(int, record["messages"]) + 1
    context.state["count"] = record
    device = node_config_for(context.node_config, {}).devices[0].number
    answer = MetricRecord({"node": context.node_id, "device": device, "messages": record["messages"]})
    return Message(RecordDict({"answer": answer}), reply_to=message)


@app.train("add")
def add(message: Message, context: Context) -> Message:
    """The arrays with the node's number added, in another record."""
    record = message.content.array_records["model"]
    arrays = {name: Array(array.numpy() + context.node_id) for name, array in record.items()}
    record["mine"] = Array(np.zeros(1))  # what a node does to its message is its own affair
    return Message(RecordDict({"sum": ArrayRecord(arrays), "n": MetricRecord({"examples": 3})}), reply_to=message)


@app.query("fail")
def fail(message: Message, context: Context) -> Message:
    """Raise an error with a secret in it."""
    raise ValueError("a secret")


@app.query("forget")
def forget(message: Message, context: Context) -> Message:
    """Keep nothing any more."""
    context.state.clear()
    return Message(RecordDict(), reply_to=message)


@app.query("nothing")
def nothing(message: Message, context: Context) -> None:
    """Forget to answer."""


@dataclass
class Script(World):
    """A world in which it is written down what happens, for tests.

    Attributes:
        delays: node -> seconds from the sending until its answer is there; 1 where it is silent, None for never.
        fates: node -> how its visits end. away: nodes that are not there now. changes_s: when nodes come or go next.
        gone: nodes that no message reaches.
        lie: added to each number of an answer. called: the arguments of all calls of `visit`.
    """

    nodes: int
    delays: dict[int, float | None] = field(default_factory=dict)
    fates: dict[int, Fate] = field(default_factory=dict)
    away: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    changes_s: float | None = None
    lie: int = 0
    called: list[tuple[Any, ...]] = field(default_factory=list)

    def online_nodes(self, at_s: float) -> list[int]:
        return [node for node in range(self.nodes) if node not in self.away]

    def next_change_s(self, at_s: float) -> float | None:
        return self.changes_s

    def next_online_s(self, node: int, at_s: float, until_s: float) -> float | None:
        return None if node in self.gone else at_s

    def fate(self, node: int, kind: str, number: int) -> Fate:
        return self.fates.get(node, Fate.ANSWERS)

    def works(self, node: int, records: Mapping[str, Mapping[str, Any]]) -> tuple[Work, ...]:
        return tuple(Work(record.get("device", 0), 1.0, 2.0) for record in records.values())

    def visit(
        self,
        node: int,
        kind: str,
        number: int,
        sent_s: float,
        ttl_s: float,
        fate: Fate,
        down_bytes: int,
        up_bytes: int,
        works: Sequence[Work],
    ) -> Visit:
        self.called.append((sent_s, node, number))
        if node in self.gone:
            return Visit(node, kind, number, sent_s, cause="offline")
        delay_s = None if fate is Fate.DROPS_OUT else self.delays.get(node, 1.0)
        arrived_s = None if delay_s is None else sent_s + delay_s
        cause = "" if fate is Fate.ANSWERS and arrived_s is not None else fate.value
        return Visit(node, kind, number, sent_s, sent_s, arrived_s, down_bytes, up_bytes, tuple(works), cause)

    def reply(self, node: int, number: int, records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: {key: value + self.lie for key, value in record.items()} for name, record in records.items()}


@dataclass
class Fleet:
    """A grid of a few nodes, whose apps run in this process."""

    world: Script
    clock: VirtualClock
    executor: Inline
    grid: FleetGrid
    told: list[tuple[int, str, Any]]

    @property
    def visits(self) -> list[Visit]:
        return self.grid.visits

    def push(self, *nodes: int, kind: str = COUNT, ttl: float = 100.0, content: RecordDict | None = None) -> list[str]:
        """Send each node, by Flower's number, a message."""
        records = content or RecordDict({"request": ConfigRecord({"a": 1})})
        return list(self.grid.push_messages([Message(records, node, kind, ttl=ttl, group_id="7") for node in nodes]))


def make_fleet(nodes: int, remembered: Remembered | None = None, **world: Any) -> Fleet:
    devices = [DeviceConfig(number=10 + node, profile="pi_4", data="glyphs") for node in range(nodes)]
    configs = [NodeConfig(store=Path("/nowhere"), devices=(device,)) for device in devices]
    script, clock, executor = Script(nodes, **world), VirtualClock(), Inline(FUNCTION)
    told: list[tuple[int, str, Any]] = []

    def on_computed(*computed: Any) -> None:
        told.append(computed)

    grid = FleetGrid(configs, APP, script, clock, executor, remembered=remembered, on_computed=on_computed)
    return Fleet(script, clock, executor, grid, told)


def answers(replies: Iterable[Message]) -> list[tuple[int, int, int]]:
    """Node, device and messages of each answer."""
    records = [reply.content.metric_records["answer"] for reply in replies]
    return [(int(r["node"]), int(r["device"]), int(r["messages"])) for r in records]  # type: ignore[arg-type]


def pulled(fleet: Fleet, ids: Iterable[str]) -> list[Message]:
    """All answers to these, in the order of their arrival."""
    waiting, found = set(ids), []
    while waiting:
        replies = list(fleet.grid.pull_messages(waiting))
        found += replies
        waiting -= {reply.metadata.reply_to_message_id for reply in replies}
        fleet.clock.sleep(0.0)
    return found
