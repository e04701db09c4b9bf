"""Who was simulated, out of `nodes.jsonl`: column by column, so that 100,000 devices are a few lists."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from client.config import DeviceConfig, NodeConfig
from simulations.results.columns import FACTS, SETTINGS, SHARE, SHARING, WAYS
from tinytrain_core.configuration import problems
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.errors import ConfigurationError

NODES_FILE = "nodes.jsonl"
Cell = int | float | str | None


@dataclass(frozen=True)
class Hosted:
    """The devices of a fleet, node after node.

    Attributes:
        numbers, nodes, profiles: of each device its number, its node's partition id, its class's number.
        facts: of each of the columns FACTS what is known of each device.
        sizes: devices of each node.
    """

    numbers: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    profiles: list[int] = field(default_factory=list)
    facts: dict[str, list[Cell]] = field(default_factory=lambda: {c.name: [] for c in FACTS})
    sizes: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def places(self) -> dict[int, int]:
        """The position of each device, by its number."""
        return {number: position for position, number in enumerate(self.numbers)}

    @cached_property
    def firsts(self) -> list[int]:
        """The position of the first device of each node."""
        firsts, position = [], 0
        for size in self.sizes:
            firsts.append(position)
            position += size
        return firsts

    def node_of(self, device: int) -> int | None:
        """The node that hosts the device; None where none does."""
        position = self.places.get(device)
        return None if position is None else self.nodes[position]

    def add(self, node: NodeConfig) -> None:
        """The next node."""
        for device in node.devices:
            self.numbers.append(device.number)
            self.nodes.append(len(self.sizes))
            self.profiles.append(catalogue()[device.profile].number)
            for name, value in _facts(device).items():
                self.facts[name].append(value)
        self.sizes.append(len(node.devices))


def _facts(device: DeviceConfig) -> dict[str, Cell]:
    known: dict[str, Cell] = {c.name: getattr(device, c.name) for c in SETTINGS}
    user = device.user
    if user is None:
        return known | dict.fromkeys(c.name for c in WAYS + SHARING)
    shared = {c.name: getattr(user.sharing, c.name.removeprefix(SHARE)) for c in SHARING}
    return known | {c.name: getattr(user, c.name) for c in WAYS} | shared


def hosted(nodes: Iterable[NodeConfig]) -> Hosted:
    """The devices of the nodes, which are in the order of their partition ids."""
    found = Hosted()
    for node in nodes:
        found.add(node)
    return found


def read_hosted(out: Path) -> Hosted | None:
    """Who was simulated in the run in the folder `out`; None where it does not say.

    Raises:
        ConfigurationError: a line is not a node's configuration.
    """
    file = out / NODES_FILE
    if not file.is_file():
        return None
    found = Hosted()
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found.add(NodeConfig.model_validate_json(line))
            except ValidationError as error:
                raise ConfigurationError(f"{file}, line {number}, is not a node: {problems(error)}") from None
    return found
