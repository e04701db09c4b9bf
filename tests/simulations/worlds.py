"""A small fleet and its world, for the tests of the world."""

from pathlib import Path
from typing import Any

from simulations.clock import START_S
from simulations.population import Population, node_configs
from simulations.settings import load_settings
from simulations.world.visit import Fate, Visit, Work
from simulations.world.world import World

MIX = {"stm32h743": 2, "pi_4": 1, "phone": 1}
TRAIN = "train.personalise"
DAY_S = 86_400.0
HOUR_S = 3_600.0


def make_world(devices: int = 12, mix: dict[str, float] = MIX, **sections: Any) -> tuple[World, Population]:
    """A world with these sections in its settings, and who lives in it."""
    settings = load_settings(None, {"devices": devices, "mix": mix, "gateway_size": 4, **sections})
    nodes = node_configs(settings, Path("nowhere"))
    return World(settings, nodes), nodes


def visit(world: World, node: int = 0, works: tuple[Work, ...] = (), **fields: Any) -> Visit:
    """A message of 1000 bytes to train, sent at the start, whose answer has 100 bytes."""
    common: dict[str, Any] = {
        "kind": TRAIN,
        "number": 1,
        "sent_s": START_S,
        "ttl_s": DAY_S,
        "fate": Fate.ANSWERS,
        "down_bytes": 1000,
        "up_bytes": 100,
    }
    return world.visit(node, works=works, **common | fields)
