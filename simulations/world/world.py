"""The world of a simulated fleet: who can be reached, what becomes of a message, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from client.config import NodeConfig
from simulations.settings import FleetSettings
from simulations.world.availability import next_online_s, presence
from simulations.world.devices import Devices
from simulations.world.draws import Figure, factor
from simulations.world.faults import fate, slowness, told
from simulations.world.links import Transfer, transfer
from simulations.world.settings import Link, of_class
from simulations.world.visit import Fate, Visit, Work
from tinytrain_core.seeds import Draw

NO_LINK = Link()
COSTS = {"device", "estimated_s", "estimated_j"}  # of a report


class Cause(StrEnum):
    """Why a visit has no answer that counts."""

    OFFLINE = "offline"  # the node was away for too long
    BATTERY = "battery"  # a device had too little charge for too long
    DROP_OUT = "drop_out"
    CRASH = "crash"


class World:
    """What happens to messages. A pure function of the settings, but for what the devices did before.

    A message waits until its node can be reached, travels down, is worked on by all devices of the node at the same
    time, each in its own speed, and its answer travels up as soon as the node can be reached. A transfer that the
    node's leaving interrupts goes on when it is back. Computing goes on meanwhile.

    Args:
        nodes: in the order of their partition ids.

    Raises:
        ConfigurationError: the trace of the nodes' availability is missing or wrong.
    """

    def __init__(self, settings: FleetSettings, nodes: Sequence[NodeConfig]) -> None:
        self._settings, self._seed, self._nodes = settings, settings.seed, nodes
        self._presence = presence(settings.availability, settings.seed, len(nodes))
        self.devices = Devices(settings.power, settings.seed, nodes)
        self._links: dict[int, tuple[Link, float]] = {}

    def online(self, node: int, at_s: float) -> bool:
        """Whether a node can be reached."""
        return self._presence.online(node, at_s)

    def online_nodes(self, at_s: float) -> list[int]:
        """The nodes that can be reached, in order."""
        return self._presence.online_nodes(at_s)

    def next_change_s(self, at_s: float) -> float | None:
        """The first time after `at_s` at which anybody's presence may change; None is never."""
        return self._presence.next_change_s(at_s)

    def next_online_s(self, node: int, at_s: float, until_s: float) -> float | None:
        """The first time from `at_s` to `until_s` at which a node can be reached; None for none."""
        return next_online_s(self._presence, node, at_s, until_s)

    def fate(self, node: int, kind: str, number: int) -> Fate:
        """How a message to a node ends; queries are always answered."""
        return fate(self._settings.faults, self._seed, node, kind, number)

    def works(self, node: int, records: Mapping[str, Mapping[str, Any]]) -> tuple[Work, ...]:
        """What the devices did of whom a node reports, in their own time and energy; one entry for each that did."""
        done = [record for record in records.values() if record.keys() >= COSTS and record["estimated_s"] > 0]
        return tuple(self._work(record["device"], record["estimated_s"], record["estimated_j"]) for record in done)

    def _work(self, device: int, class_s: float, class_j: float) -> Work:
        spread = self._settings.spread
        speed = factor(device, spread.speed, self._seed, Draw.DEVICE_FIGURE, Figure.SPEED)
        power = factor(device, spread.power, self._seed, Draw.DEVICE_FIGURE, Figure.POWER)
        return Work(device, class_s / speed, class_j / speed * power)

    def _link(self, node: int) -> tuple[Link, float]:
        """A node's link, and its bandwidth as a multiple of the link's."""
        links = self._settings.links
        if not links.classes:
            return NO_LINK, 1.0
        if node not in self._links:
            link = of_class(links.classes, self._nodes[node].devices[0].device_class) or NO_LINK
            bandwidth = factor(node, links.spread, self._seed, Draw.NODE_FIGURE, Figure.BANDWIDTH)
            self._links[node] = link, bandwidth
        return self._links[node]

    def down(self, node: int, content_bytes: int) -> Transfer:
        """A message from the server to a node."""
        link, bandwidth = self._link(node)
        return transfer(content_bytes, link.down_bps, link, bandwidth)

    def up(self, node: int, content_bytes: int) -> Transfer:
        """A message from a node to the server."""
        link, bandwidth = self._link(node)
        return transfer(content_bytes, link.up_bps, link, bandwidth)

    def _transferred_s(self, node: int, from_s: float, time_s: float, until_s: float) -> float | None:
        """When a transfer is done that begins as soon as the node is there; None if it is away for too long."""
        now_s = self.next_online_s(node, from_s, until_s)
        while now_s is not None:
            change_s = self._presence.next_change_of_s(node, now_s)
            if change_s is None or now_s + time_s <= change_s:
                return now_s + time_s
            time_s -= change_s - now_s
            now_s = self.next_online_s(node, change_s, until_s)
        return None

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
        """Place one message and its answer in time. Call it in the order of (sent_s, node, number).

        Args:
            ttl_s: seconds from the sending during which the message can be fetched and worked on. An answer that is
                on its way by then arrives, however late.
            down_bytes, up_bytes: of the contents.
            works: as `works` gives them.
        """
        until_s = sent_s + ttl_s
        started_s, down = self.next_online_s(node, sent_s, until_s), self.down(node, down_bytes)
        if started_s is None:
            return Visit(node, kind, number, sent_s, cause=Cause.OFFLINE.value)
        visit = Visit(node, kind, number, sent_s, started_s, down_bytes=down.sent_bytes)
        here_s = self._transferred_s(node, started_s, down.time_s, until_s)
        if here_s is None:
            return replace(visit, cause=Cause.OFFLINE.value)
        if fate is Fate.DROPS_OUT:
            return replace(visit, cause=Cause.DROP_OUT.value)
        computed = self.devices.compute(node, works, here_s, until_s)
        if computed is None:
            return replace(visit, cause=Cause.BATTERY.value)
        slow = slowness(self._settings.faults, self._seed, node)
        ready_s = started_s + slow * (computed[0] - started_s)
        return self._answered(replace(visit, works=computed[1]), fate, ready_s, max(until_s, ready_s), up_bytes)

    def _answered(self, visit: Visit, fate: Fate, ready_s: float, until_s: float, up_bytes: int) -> Visit:
        """The visit with its answer on the way up."""
        up = self.up(visit.node, up_bytes)
        arrived_s = self._transferred_s(visit.node, ready_s, up.time_s, until_s)
        if arrived_s is None:
            return replace(visit, cause=Cause.OFFLINE.value)
        cause = Cause.CRASH.value if fate is Fate.CRASHES else ""
        return replace(visit, arrived_s=arrived_s, up_bytes=up.sent_bytes, cause=cause)

    def reply(self, node: int, number: int, records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """What a node says to its message `number`: its records, unless it lies."""
        return told(self._settings.faults, self._seed, node, number, records, self._settings.devices)
