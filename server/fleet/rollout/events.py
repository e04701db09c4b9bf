"""What happens to the nodes of a rollout, as changes of its state. Pure: whoever calls says what time it is."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from server.fleet.rollout import progress
from server.fleet.rollout.figure import Figure
from server.fleet.rollout.state import Progress, RolloutState, Step
from server.fleet.rollout.targeting import Member, stage_of
from tinytrain_core.orders import NodeStatus


def _changed(state: RolloutState, name: str, change: Callable[[Progress], Progress]) -> RolloutState:
    """The state with one node changed; as it is where it has no such node."""
    before = state.nodes.get(name)
    after = before and change(before)
    if before is None or after is None or after == before:
        return state
    return replace(state, nodes={**state.nodes, name: after})


def joined(state: RolloutState, members: Iterable[Member]) -> RolloutState:
    """Nodes of the target that are not in the rollout yet; those that are stay as they are."""
    new = {}
    for member in members:
        stage = stage_of(member.place, state.cuts)
        if member.name not in state.nodes and stage is not None:
            new[member.name] = Progress(member.place, stage, member.devices)
    return replace(state, nodes={**state.nodes, **new}) if new else state


def left(state: RolloutState, names: Collection[str]) -> RolloutState:
    """The operator took nodes out of the fleet: they count no more."""
    if state.nodes.keys().isdisjoint(names):
        return state
    return replace(state, nodes={name: node for name, node in state.nodes.items() if name not in names})


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
