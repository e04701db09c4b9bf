"""What goes wrong: requests that are never answered, runtimes that fail, nodes that are slow or lie."""

from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

import numpy as np

from simulations.world.draws import Figure, uniform
from simulations.world.settings import Faults
from simulations.world.visit import Fate
from tinytrain_core.report import Outcome
from tinytrain_core.seeds import Draw, generator

Report = dict[str, Any]
Lie = Callable[[Report, np.random.Generator, int], Report]
QUERY = "query."  # how the kinds of messages begin that ask for nothing to be done


def fate(faults: Faults, seed: int, node: int, kind: str, number: int) -> Fate:
    """How a message to a node ends. Queries are always answered."""
    if kind.startswith(QUERY) or not (faults.drop_out or faults.crash):
        return Fate.ANSWERS
    drawn = uniform(node, seed, Draw.FATE, crc32(kind.encode()), number)
    if drawn < faults.drop_out:
        return Fate.DROPS_OUT
    return Fate.CRASHES if drawn < faults.drop_out + faults.crash else Fate.ANSWERS


def slowness(faults: Faults, seed: int, node: int) -> float:
    """How many seconds a node takes for what takes others one."""
    slow = faults.slow and uniform(node, seed, Draw.NODE_FIGURE, Figure.SLOW) < faults.slow
    return faults.slow_factor if slow else 1.0


def _inflate(report: Report, rng: np.random.Generator, devices: int) -> Report:
    """Perfect after adapting, where there is an accuracy to lie about."""
    if report["outcome"] in (Outcome.FAILED, Outcome.WITHHELD):
        return report
    return report | {"outcome": int(Outcome.ADAPTED), "accuracy_after": 1.0, "loss_last": 0.0}


def _nan(report: Report, rng: np.random.Generator, devices: int) -> Report:
    return report | dict.fromkeys(("accuracy_before", "accuracy_after", "loss_last"), float("nan"))


def _garbage(report: Report, rng: np.random.Generator, devices: int) -> Report:
    """Fields that no report has, of numbers that none would hold."""
    return {"device": -1, "accuracy": float(rng.normal(0, 1e12)), "weights": rng.normal(0, 1, 8).tolist()}


def _foreign(report: Report, rng: np.random.Generator, devices: int) -> Report:
    """In the name of another device of the fleet."""
    step = int(rng.integers(1, max(devices, 2)))
    return report | {"device": (report["device"] - 1 + step) % max(devices, 2) + 1}


LIES: dict[str, Lie] = {"foreign": _foreign, "garbage": _garbage, "inflate": _inflate, "nan": _nan}
MIXED = "mixed"


def lie_of(faults: Faults, seed: int, node: int) -> str:
    """The kind of lies that a node tells; empty for an honest one."""
    if not faults.byzantine or uniform(node, seed, Draw.NODE_FIGURE, Figure.BYZANTINE) >= faults.byzantine:
        return ""
    if faults.byzantine_kind != MIXED:
        return faults.byzantine_kind
    return sorted(LIES)[int(uniform(node, seed, Draw.NODE_FIGURE, Figure.LIE) * len(LIES))]


def told(
    faults: Faults, seed: int, node: int, number: int, records: Mapping[str, Report], devices: int
) -> dict[str, Report]:
    """What a node says instead of its records: its reports changed, and everything else as it is.

    Args:
        number: of the message that is answered.
        devices: of the whole fleet.
    """
    kind = lie_of(faults, seed, node)
    if not kind:
        return dict(records)
    rng = generator(seed, Draw.LIE, node, number)
    return {
        name: LIES[kind](dict(record), rng, devices) if "outcome" in record else record
        for name, record in records.items()
    }
