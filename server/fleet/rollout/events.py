"""What happens to the nodes of a rollout, as changes of its state. Pure: whoever calls says what time it is."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from server.fleet.rollout import progress
from server.fleet.rollout.figure import Figure
from server.fleet.rollout.state import Progress, RolloutState, Step, without_devices
from server.fleet.rollout.targeting import Member, stage_of
from tinytrain_core.orders import NodeStatus


def _changed(state: RolloutState, name: str, change: Callable[[Progress], Progress]) -> RolloutState:
    """The state with one node changed; as it is where it has no such node."""
    before = state.nodes.get(name)
    after = before and change(before)
    if before is None or after is None or after == before:
        return state
    return replace(state, nodes={**state.nodes, name: after})


def alone(state: RolloutState, name: str) -> RolloutState:
    """The state with one of its nodes, or none of that name: for events of that node, each of which is a copy."""
    return replace(state, nodes={name: state.nodes[name]} if name in state.nodes else {})


def together(state: RolloutState, parts: Iterable[RolloutState]) -> RolloutState:
    """The state with its nodes as they are in what became of them alone."""
    found = (each for part in parts for each in part.nodes.items())
    new = {name: node for name, node in found if node is not state.nodes[name]}
    return replace(state, nodes={**state.nodes, **new}) if new else state


def joined(state: RolloutState, members: Iterable[Member]) -> RolloutState:
    """Nodes of the target that are not in the rollout yet, or are others under the name of one that is.

    Those that are in it stay as they are. The first that join are those that the stages wait for.
    """
    members = tuple(members)
    state = left(state, [member.name for member in members if _is_another(state.nodes.get(member.name), member)])
    new = {}
    for member in members:
        stage = stage_of(member.place, state.cuts)
        if member.name not in state.nodes and stage is not None:
            late = bool(state.sizes) and stage <= state.stage
            new[member.name] = Progress(member.place, stage, member.devices, late=late)
    if new:
        state = replace(state, nodes={**state.nodes, **new})
    if new and not state.sizes:
        stages = [node.stage for node in new.values()]
        state = replace(state, sizes=tuple(stages.count(stage) for stage in range(len(state.cuts))))
    return state


def _is_another(node: Progress | None, member: Member) -> bool:
    """Whether a member has the name of a node, and another key or other devices."""
    return node is not None and (node.place, node.devices) != (member.place, member.devices)


def left(state: RolloutState, names: Collection[str]) -> RolloutState:
    """The operator took nodes out of the fleet: nothing more is expected of them, and what they reported counts."""
    if state.nodes.keys().isdisjoint(names):
        return state
    gone = [without_devices(node, ()) for name, node in state.nodes.items() if name in names]
    devices = frozenset(device for node in gone for device in node.devices)
    removed = (*(without_devices(node, devices) for node in state.removed), *gone)
    nodes = {name: node for name, node in state.nodes.items() if name not in names}
    return replace(state, nodes=nodes, removed=tuple(node for node in removed if node.figures))


def reported(state: RolloutState, name: str, found: Iterable[Figure]) -> RolloutState:
    """Reports of a node that were not there before."""
    return _changed(state, name, lambda node: progress.reported(node, found))


def heard(
    state: RolloutState, name: str, status: NodeStatus, delivered: int, to_order: bool, now_s: float
) -> RolloutState:
    """A node answered; its reports are in already. See `progress.heard`."""
    return _changed(state, name, lambda node: progress.heard(node, state, status, delivered, to_order, now_s))


def invalid(state: RolloutState, name: str, now_s: float) -> RolloutState:
    """What a node answered is none: its attempt failed."""
    return _changed(state, name, lambda node: progress.attempt_failed(node, state, now_s, "not a valid answer"))


def unreachable(state: RolloutState, name: str) -> RolloutState:
    """A message was lost on its way there or back. The order stands; its deadline decides."""
    lost = "a message was lost"
    return _changed(state, name, lambda node: replace(node, note=lost) if node.step is Step.ORDERED else node)


def shifted(state: RolloutState, by_s: float) -> RolloutState:
    """The clock was set: every time that was noted moves with it."""
    nodes = {
        name: replace(node, deadline_s=node.deadline_s + by_s, not_before_s=node.not_before_s + by_s)
        for name, node in state.nodes.items()
    }
    ripe_s, paused_s, dark_s = (at and at + by_s for at in (state.ripe_s, state.paused_s, state.dark_s))
    return replace(state, nodes=nodes, began_s=state.began_s + by_s, ripe_s=ripe_s, paused_s=paused_s, dark_s=dark_s)


def darkened(state: RolloutState, anyone: bool, now_s: float) -> RolloutState:
    """Whether anyone can be reached. Where nobody can it is the server that is away, and no deadline passes."""
    if not anyone:
        return state if state.dark_s is not None else replace(state, dark_s=now_s)
    return state if state.dark_s is None else replace(shifted(state, now_s - state.dark_s), dark_s=None)
