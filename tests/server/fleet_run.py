"""A whole fleet in memory: a folder with a registry, honest nodes, a clock, and the controller that is under test."""

from pathlib import Path
from typing import Any

from server.fleet.controller import Controller
from server.fleet.database import Database
from server.fleet.nodes import nodes
from server.fleet.rollout import store
from server.fleet.rollout.spec import RolloutSpec
from server.fleet.rollout.start import began, prepared
from server.fleet.rollout.state import RolloutState
from tests.server.honest_fleet import HonestNode, Look, MemoryLink, VirtualClock
from tests.server.release_folder import ReleaseFolder

STAGES = [{"devices": 3}, {"percent": 50}, {"percent": 100}]
PASS_S = 10.0
SPEC: dict[str, Any] = {
    "name": "spring",
    "release": 2,
    "stages": STAGES,
    "deadline_s": 600,
    "retries": 1,
    "backoff_s": 30,
    "gates": {"min_reports": 3, "min_gain_lower_bound": 0.0},
}


class FleetRun:
    """`count` nodes of one device each, the numbers of which are theirs; the first is a gateway of three."""

    def __init__(self, folder: Path, count: int = 6, cohort: int = 2) -> None:
        self.folder = ReleaseFolder(folder, cohort=cohort)
        self.clock = VirtualClock()
        self.nodes: dict[int, HonestNode] = {}
        for number in range(1, count + 1):
            self.add(number)

    def add(self, number: int) -> HonestNode:
        devices = (number, 101, 102) if number == 1 else (number,)
        self.folder.node(number, devices)
        self.nodes[number] = HonestNode(number, devices, self.folder.trust)
        return self.nodes[number]

    def start(self, **changes: Any) -> RolloutState:
        spec = RolloutSpec.model_validate(SPEC | changes)
        with Database(self.folder.config.database) as database:
            now_s = self.clock.now_s()
            cohort = self.folder.config.minimum_cohort
            state = prepared(spec, self.folder.registry, self.folder.trust, nodes(database), now_s, cohort)
            with database.transaction() as connection:
                state = store.insert_rollout(connection, state, now_s)
                store.record(connection, state.number, [began(state)], now_s)
        return state

    def controller(self, look: Look = lambda when, node: None) -> Controller:
        link = MemoryLink(self.nodes, self.clock, look)
        return Controller(self.folder.config, link, self.clock, self.folder.registry, "run")

    def run(self, seconds: float, controller: Controller | None = None) -> RolloutState:
        """Pass after pass for that long, with a controller of its own where none is given."""
        driver = controller or self.controller()
        end = self.clock.steady + seconds
        while self.clock.steady < end:
            driver.step()
            self.clock.sleep(PASS_S)
        if controller is None:
            driver.close()
        return self.state()

    def state(self) -> RolloutState:
        with Database(self.folder.config.database) as database:
            return store.find_rollout(database)

    def decisions(self) -> list[str]:
        with Database(self.folder.config.database) as database:
            return [each["what"] for each in store.decisions(database, self.state().number)]

    def reasons(self, what: str) -> list[str]:
        with Database(self.folder.config.database) as database:
            return [d["reason"] for d in store.decisions(database, self.state().number) if d["what"] == what]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with Database(self.folder.config.database) as database:
            return [tuple(row) for row in database.rows(query, *values)]

    def tell(self, what: store.What, reason: str = "because") -> None:
        number = self.state().number
        with Database(self.folder.config.database) as database, database.transaction() as connection:
            store.command(connection, number, what, reason, self.clock.now_s())

    def orders(self, number: int) -> list[tuple[int, int]]:
        """The versions that a node was ordered to use, with how many bytes of weights came along."""
        return [(version, size) for kind, version, _, size in self.nodes[number].told if kind == "train.order"]

    def canaries(self, state: RolloutState) -> set[int]:
        """The numbers of the nodes in the first stage."""
        return {int(name.removeprefix("node-")) for name, node in state.nodes.items() if node.stage == 0}
