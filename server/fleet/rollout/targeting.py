"""Who is in which stage of a rollout: pure, the same at every run, and not changed by nodes that are added later.

Nodes are ordered by a hash of the rollout's seed and their key. A stage ends at a cut: the place of the last node that
it needs for its size when the rollout starts. The cuts are kept, so that a node that comes later finds its stage by
its own place, and moves nobody.
"""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from server.fleet.nodes import Node
from server.fleet.rollout.spec import ALL_PERCENT, RolloutSpec, Stage, Target

END = "f" * 64  # behind every place


@dataclass(frozen=True, order=True)
class Member:
    """A node in the order of a rollout.

    Attributes:
        place: 64 hexadecimal digits that order the nodes.
        devices: the numbers of those that it hosts.
    """

    place: str
    name: str
    devices: tuple[int, ...]


def _place(seed: str, public_key: str) -> str:
    key = public_key.split()  # OpenSSH: type, key, comment
    return hashlib.sha256(f"{seed}\n{key[1] if len(key) > 1 else public_key}".encode()).hexdigest()


def fits(node: Node, target: Target) -> bool:
    """Whether a node fulfils every condition of a target, its share apart. One without devices fits none."""
    classes = {device.profile for device in node.devices}
    return (
        bool(node.devices)
        and (not target.classes or not classes.isdisjoint(target.classes))
        and set(target.tags) <= set(node.tags)
        and (not target.names or any(fnmatchcase(node.name, pattern) for pattern in target.names))
    )


def members(spec: RolloutSpec, nodes: Iterable[Node]) -> list[Member]:
    """The nodes that fit the rollout's target, in their order."""
    return sorted(
        Member(_place(spec.seed, node.public_key), node.name, tuple(sorted(device.number for device in node.devices)))
        for node in nodes
        if fits(node, spec.target)
    )


def _cut(ordered: Sequence[Member], devices: int) -> str:
    """The place of the last of the first nodes that have that many devices together."""
    found = 0
    for member in ordered:
        found += len(member.devices)
        if found >= devices:
            return member.place
    return END


def _share(percent: float, devices: int) -> int:
    return math.ceil(round(percent * devices / ALL_PERCENT, 9))


def _wanted(stage: Stage, devices: int) -> int:
    if stage.percent is not None:
        return _share(stage.percent, devices)
    return min(stage.devices or 0, devices)


def cuts(spec: RolloutSpec, ordered: Sequence[Member]) -> tuple[str, ...]:
    """Where each stage ends, the last included; they never fall."""
    everybody = sum(len(member.devices) for member in ordered)
    devices = _share(spec.target.percent, everybody)
    end = END if spec.target.percent == ALL_PERCENT else _cut(ordered, devices)
    found: list[str] = []
    for stage in spec.stages:
        cut = end if stage.percent == ALL_PERCENT else min(_cut(ordered, _wanted(stage, devices)), end)
        found.append(max([cut, *found]))
    return tuple(found)


def stage_of(place: str, ends: Sequence[str]) -> int | None:
    """The first stage, from 0, that a node at that place is in; None where it is in none."""
    stage = bisect_left(ends, place)
    return stage if stage < len(ends) else None
