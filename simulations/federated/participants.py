"""Who can take part in a federation: every node is asked once, when it is first there."""

from collections import Counter
from dataclasses import dataclass, field

from flwr.app import Message

from simulations.federated.orders import QUERY_FEDERATED, Affords, TrainRequest, parse_answers
from simulations.federated.talk import Talk, numbers, request
from tinytrain_core.errors import EgressError, ErrorCode

TIMES_ASKED = 3  # at most, where no answer comes
PAUSE_S = 60.0  # of the fleet's time, between looking who is there


@dataclass
class Participants:
    """The answers of all nodes that have been asked.

    Attributes:
        devices: of each node, with what training all weights would take; none where the answer was none.
    """

    talk: Talk
    order: TrainRequest
    devices: dict[int, list[Affords]] = field(default_factory=dict)
    _asked: Counter[int] = field(default_factory=Counter)

    def present(self) -> list[int]:
        """Nodes with a device that can train all weights, of those that are there now."""
        present = self.talk.present()
        self._ask([node for node in present if node not in self.devices])
        return [node for node in present if self._able(node)]

    def awaited(self) -> list[int]:
        """The same, once there is one; none where no node of the fleet can, or the deadline is past."""
        give_up_s = self.talk.clock.monotonic_s() + self.talk.deadline_s
        while not (found := self.present()) and self._may_come() and self.talk.clock.monotonic_s() < give_up_s:
            self.talk.clock.sleep(PAUSE_S)
        return found

    def _may_come(self) -> bool:
        """Whether a node that can train may be away now."""
        return len(self.devices) < self.talk.nodes or any(self._able(node) for node in self.devices)

    def _able(self, node: int) -> bool:
        return node in self.devices and bool(self.able_devices(node))

    def _ask(self, nodes: list[int]) -> None:
        """Ask nodes; one that does not answer is asked again when it is next there, a few times."""
        replies = self.talk.ask(dict.fromkeys(nodes, request(self.order)), QUERY_FEDERATED)
        self._asked.update(nodes)
        for node in nodes:
            if node in replies or self._asked[node] == TIMES_ASKED:
                self.devices[node] = _answers(replies.get(node))

    def images(self, node: int) -> dict[int, int]:
        """The support images of each device of a node."""
        return {device.device: device.images for device in self.devices[node]}

    def able_devices(self, node: int) -> list[int]:
        """The devices of a node that can train all weights."""
        return [device.device for device in self.devices[node] if device.affords]

    def excluded(self) -> list[Affords]:
        """The devices that have said that they cannot take part."""
        return [device for node in sorted(self.devices) for device in self.devices[node] if not device.affords]

    def summary(self) -> dict[str, int]:
        """For people and programs: how many take part, how many do not, and what these lack."""
        told = [device for devices in self.devices.values() for device in devices]
        excluded = self.excluded()
        short = [device for device in excluded if device.error == ErrorCode.NONE]
        return {
            "devices_that_can": sum(device.affords for device in told),
            "devices_that_cannot": len(excluded),
            "needed_bytes": min((device.memory_bytes for device in short), default=0),
            "largest_budget_of_those_bytes": max((device.memory_budget_bytes for device in short), default=0),
        }


def _answers(reply: Message | None) -> list[Affords]:
    """What a reply says of each device of its node; nothing where it is not valid."""
    try:
        return [] if reply is None else parse_answers(Affords, numbers(reply))
    except EgressError:
        return []
