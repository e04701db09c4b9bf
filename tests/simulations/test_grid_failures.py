"""Clients that raise or kill their worker, on real processes: everybody else's answer comes."""

import json
from pathlib import Path

import pytest
from flwr.app import Message

from benchmarks import noop
from simulations.account import Effort, write_account
from simulations.clock import VirtualClock
from simulations.executors.workers import Workers
from simulations.grid import FleetGrid, run_server
from simulations.serving import FUNCTION
from simulations.settings import build_settings
from simulations.world.world import World

NODES = 300
KILLERS, RAISERS = {99, 199, 299}, {59, 119, 179, 239}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[FleetGrid, list[Message]]:
    """A round of 300 messages, some of which go to clients that fail, and its replies."""
    nodes, clock, found = noop.nodes(NODES), VirtualClock(), []
    fields = {noop.KILLS: 100, noop.RAISES: 60}
    app = noop.server_app(NODES, 1, lambda _number, _seconds, replies: found.extend(replies), fields, clock)
    with Workers(FUNCTION, 2, tmp_path_factory.mktemp("logs")) as workers:
        grid = FleetGrid(nodes, noop.CLIENT, World(build_settings({}), nodes), clock, workers)
        run_server(app, grid)
    return grid, found


def test_every_other_client_answers(finished: tuple[FleetGrid, list[Message]]) -> None:
    _, replies = finished
    partitions = {r.content.metric_records["answer"]["partition"] for r in replies if r.has_content()}
    errors = {r.metadata.src_node_id - 1: (r.error.code, r.error.reason) for r in replies if r.has_error()}
    assert partitions == set(range(NODES)) - KILLERS - RAISERS
    assert {node for node, error in errors.items() if error == (8, "worker died: exit code 1")} == KILLERS
    assert {node for node, error in errors.items() if error == (2, "exception: ValueError")} == RAISERS - KILLERS


def test_the_causes_are_in_the_account(finished: tuple[FleetGrid, list[Message]], tmp_path: Path) -> None:
    grid, _ = finished
    write_account(tmp_path, grid.visits, Effort("workers", 2, 1.0, 2.0))
    visits = [json.loads(line) for line in (tmp_path / "visits.jsonl").read_text().splitlines()]
    assert [visit["node"] for visit in visits] == list(range(NODES))
    assert {visit["node"] for visit in visits if visit["cause"]} == KILLERS | RAISERS
    assert json.loads((tmp_path / "simulation.json").read_text())["incidents"] == {
        "exception: ValueError": 4,
        "worker died: exit code 1": 3,
    }
