"""The rollout as a pure state machine: what it does when time has passed. No clock, no transport, no disk.

Whoever drives it calls the functions of `events.py` and `phases.py` for what has happened, then `advance`, and
`ordered` when what is to be sent is there. Nodes in the step ORDERED are to be given their order, as often as it takes
until they accept it.
"""

from collections.abc import Collection
from dataclasses import replace
from heapq import nsmallest

from server.fleet.rollout import progress
from server.fleet.rollout.events import darkened
from server.fleet.rollout.gates import Verdict, hopeless, judge
from server.fleet.rollout.phases import Decisions, Result, entered, halted
from server.fleet.rollout.sample import judged
from server.fleet.rollout.state import (
    BACKWARD,
    FORWARD,
    GIVEN_UP,
    SETTLED,
    Decision,
    Phase,
    Progress,
    RolloutState,
    Step,
)


def given_up(before: RolloutState, after: RolloutState) -> Decisions:
    """A decision for each node of which nothing more is expected any more, though it is not done."""
    old = before.nodes
    if after.nodes is old:
        return ()
    return tuple(
        Decision("gave up", f"node {name} after {node.tries} orders: {node.note}", {"attempt": node.attempt})
        for name, node in after.nodes.items()
        if (was := old.get(name)) is not node and node.step in GIVEN_UP and (was is None or was.step is not node.step)
    )


def advance(state: RolloutState, now_s: float, online: Collection[str]) -> Result:
    """Time has passed: give up on what is late, judge, begin the next stage. `ordered` then chooses who is ordered.

    Args:
        online: the names of the fleet's nodes that can be reached, whether they are in the rollout or not.
    """
    state = darkened(state, bool(online), now_s)
    if not online:
        return state, ()
    before, state = state, _tended(state, now_s, online)
    lost = given_up(before, state)
    state, watched = _watched(state, now_s)
    state, stages = _proceeded(state, now_s, online)
    state, back = _rolled_back(state, now_s, online)
    return state, (*lost, *watched, *stages, *back)


def _tended(state: RolloutState, now_s: float, online: Collection[str]) -> RolloutState:
    still = state.phase in (Phase.PAUSED, Phase.HALTED)  # then nobody waits for the node
    waits, has_one = Step.WAITING, Step.ORDERED  # Enum's own look-up is slow, and there are many nodes
    new = {
        name: after
        for name, node in state.nodes.items()
        if (now_s >= node.deadline_s if node.step is has_one else node.tries and node.step is waits)
        if (after := progress.tended(node, state, now_s, still or name in online)) is not node
    }
    return replace(state, nodes={**state.nodes, **new}) if new else state


def _watched(state: RolloutState, now_s: float) -> Result:
    """Halted as soon as the stage cannot pass any more."""
    if state.phase not in (Phase.RUNNING, Phase.PAUSED):
        return state, ()
    why = hopeless(judged(state), state.spec.gates)
    return halted(state, why.reason, now_s, why.figures, why.guilty) if why else (state, ())


def _proceeded(state: RolloutState, now_s: float, online: Collection[str]) -> Result:
    """As many stages further as have passed, one after the other."""
    decisions: Decisions = ()
    while state.phase is Phase.RUNNING:
        state = _ripened(state, now_s, online)
        verdict = _verdict(state, now_s)
        if verdict is None:
            break
        state, more = _after(state, verdict, now_s)
        decisions += more
    return state, decisions


def _absent(node: Progress, name: str, state: RolloutState, now_s: float, online: Collection[str]) -> bool:
    """Whether a node has not been there for as long as it is waited for."""
    late = now_s >= state.began_s + state.spec.deadline_of(node.stage)
    return node.step is Step.WAITING and name not in online and late


def _ripened(state: RolloutState, now_s: float, online: Collection[str]) -> RolloutState:
    """The stage with the time since which nothing more is expected of its nodes, or of those that it began with."""
    ripe = _is_ripe(state, now_s, online)
    if ripe == (state.ripe_s is not None):
        return state
    return replace(state, ripe_s=now_s if ripe else None)


def _is_ripe(state: RolloutState, now_s: float, online: Collection[str]) -> bool:
    awaited = late = False  # whether there are nodes that the stage began with; whether a late one has not ended
    for name, node in state.nodes.items():
        if node.stage != state.stage or (node.late and late):
            continue
        ended = node.step in SETTLED or (not node.tries and _absent(node, name, state, now_s, online))
        if not node.late and not ended:
            return False
        awaited, late = awaited or not node.late, late or not ended
    return awaited or not late


def _verdict(state: RolloutState, now_s: float) -> Verdict | None:
    """What came of the stage; None while it is under way."""
    if state.ripe_s is None:
        return None
    if state.adds_nobody:
        return Verdict(True, "it adds no node", {})
    if all(node.stage != state.stage for node in state.nodes.values()):
        return Verdict(False, "all of its nodes were taken out of the fleet; abort it and begin another rollout", {})
    if now_s < state.ripe_s + state.spec.stages[state.stage].soak_s:
        return None
    return judge(judged(state), state.spec.gates)


def _after(state: RolloutState, verdict: Verdict, now_s: float) -> Result:
    if not verdict.passed:
        return halted(state, verdict.reason, now_s, verdict.figures, verdict.guilty)
    passed = Decision("stage passed", f"{state.title}: {verdict.reason}", verdict.figures)
    if state.stage + 1 == len(state.spec.stages):
        return _completed(state, passed)
    state = replace(state, stage=state.stage + 1, began_s=now_s, ripe_s=None)
    nodes = sum(node.stage == state.stage for node in state.nodes.values())
    return state, (passed, Decision("stage began", f"{state.title}: {nodes} more nodes", {"nodes": nodes}))


def _completed(state: RolloutState, passed: Decision) -> Result:
    steps = [node.step for node in state.nodes.values()]
    counts = {step.value: steps.count(step) for step in Step if step in steps}
    text = ", ".join(f"{count} nodes {name}" for name, count in counts.items())
    return entered(state, Phase.COMPLETED, text), (passed, Decision("completed", text, counts))


def _is_back(state: RolloutState, now_s: float, online: Collection[str]) -> bool:
    owed = [(name, node) for name, node in state.nodes.items() if node.back_from and not node.settled]
    return all(_absent(node, name, state, now_s, online) for name, node in owed)


def _rolled_back(state: RolloutState, now_s: float, online: Collection[str]) -> Result:
    if state.phase is not Phase.ROLLING_BACK or not _is_back(state, now_s, online):
        return state, ()
    owed = [node.step for node in state.nodes.values() if node.back_from]
    counts = {step.value: owed.count(step) for step in Step if step in owed}
    text = f"back to release {state.back_to}: " + (
        ", ".join(f"{count} nodes {name}" for name, count in counts.items()) or "no node had an order"
    )
    return replace(state, phase=Phase.ROLLED_BACK), (Decision("rolled back", text, counts),)


def ordered(state: RolloutState, now_s: float, online: Collection[str]) -> RolloutState:
    """As many nodes get an order as may fetch one at the same time, in their order.

    One that has accepted its order has fetched it; one that is away holds up nobody.
    """
    if state.phase not in FORWARD | BACKWARD or state.blocked:
        return state
    waits, has_one = Step.WAITING, Step.ORDERED
    free = state.spec.concurrency - sum(
        1 for name, node in state.nodes.items() if node.step is has_one and not node.accepted and name in online
    )
    if free <= 0:
        return state
    due = (
        (node.place, name)
        for name, node in state.nodes.items()
        if node.step is waits and now_s >= node.not_before_s and name in online and state.orders(node)
    )
    spec = state.spec
    new = {
        name: progress.ordered(node, now_s + spec.deadline_of(node.stage))
        for name, node in ((name, state.nodes[name]) for _, name in nsmallest(free, due))
    }
    return replace(state, nodes={**state.nodes, **new}) if new else state
