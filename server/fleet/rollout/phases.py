"""How a rollout goes from one phase to another, and what is recorded of it. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from server.fleet.rollout import progress
from server.fleet.rollout.state import Decision, Phase, Progress, RolloutState, Step, without_devices

Decisions = tuple[Decision, ...]
Result = tuple[RolloutState, Decisions]


def entered(state: RolloutState, phase: Phase, reason: str) -> RolloutState:
    """In another phase, of which the registry knows nothing yet."""
    return replace(state, phase=phase, reason=reason, paused_s=None, filed=False, blocked="")


def paused(state: RolloutState, reason: str, now_s: float) -> Result:
    """No node gets an order until it is resumed."""
    if state.phase is not Phase.RUNNING:
        return _ignored(state, "pause", reason)
    paused = replace(entered(state, Phase.PAUSED, reason), paused_s=now_s)
    return paused, (Decision("paused", reason),)


def _without_pause(node: Progress, now_s: float) -> Progress:
    return replace(node, not_before_s=max(node.not_before_s, now_s)) if node.step is Step.WAITING else node


def _forgiven(state: RolloutState, now_s: float) -> RolloutState:
    """Without the failures of the stage, of nodes that were taken out as well."""
    nodes = {name: progress.anew(node, state, now_s) for name, node in state.nodes.items()}
    removed = (without_devices(progress.anew(node, state, now_s), ()) for node in state.removed)
    return replace(state, nodes=nodes, removed=tuple(node for node in removed if node.figures))


def resumed(state: RolloutState, reason: str, now_s: float) -> Result:
    """It goes on; a stage that was halted gets its time again, its failed nodes their order, and is judged again."""
    if state.phase not in (Phase.PAUSED, Phase.HALTED):
        return _ignored(state, "resume", reason)
    began_s = now_s if state.paused_s is None else state.began_s + (now_s - state.paused_s)
    if state.phase is Phase.HALTED:
        state = _forgiven(state, now_s)
    nodes = {name: _without_pause(node, now_s) for name, node in state.nodes.items()}
    state = replace(entered(state, Phase.RUNNING, reason), began_s=began_s, ripe_s=None, nodes=nodes)
    return state, (Decision("resumed", reason),)


def aborted(state: RolloutState, reason: str, now_s: float, roll_back: bool) -> Result:
    """The operator ends it: nodes go back, or keep what they have, even where they were going back."""
    turning = state.phase is Phase.ROLLING_BACK
    if state.phase in (Phase.ABORTED, Phase.ROLLED_BACK) or (roll_back and (turning or state.back_to is None)):
        return _ignored(state, "abort", reason)
    decision = Decision("aborted", reason)
    if not roll_back:
        return entered(state, Phase.ABORTED, reason), (decision,)
    state, more = _turned_back(state, reason, now_s)
    return state, (decision, *more)


def _ignored(state: RolloutState, what: str, reason: str) -> Result:
    return state, (Decision("ignored", f"{what} ({reason}): the rollout is {state.phase.value}"),)


def halted(
    state: RolloutState, reason: str, now_s: float, found: Mapping[str, float | None], guilty: bool = True
) -> Result:
    """The release goes no further, and back where the rollout says so.

    Args:
        guilty: whether devices reported anything against the release; for want of reports, or because nodes fell
            silent, nothing is rolled back.
    """
    decision = Decision("halted", f"{state.title}: {reason}", found)
    state = entered(state, Phase.HALTED, reason)
    if not guilty or state.spec.rollback == "none" or state.back_to is None:
        return state, (decision,)
    state, more = _turned_back(state, reason, now_s)
    return state, (decision, *more)


def _turned_back(state: RolloutState, reason: str, now_s: float) -> Result:
    nodes = {name: progress.turned_back(node, now_s) for name, node in state.nodes.items()}
    state = replace(entered(state, Phase.ROLLING_BACK, reason), nodes=nodes, began_s=now_s)
    count = sum(node.back_from > 0 for node in nodes.values())
    text = f"{count} of {len(nodes)} nodes were ordered release {state.version} and go back to {state.back_to}"
    return state, (Decision("rolling back", text, {"nodes": count}),)


def supplied(state: RolloutState, problem: str, withdrawn: bool, now_s: float) -> Result:
    """What is to be sent was looked at: `problem` says what is wrong with it, and is empty where nothing is."""
    if not problem:
        return replace(state, blocked="") if state.blocked else state, ()
    if state.phase is Phase.RUNNING:
        return halted(state, problem, now_s, {}) if withdrawn else paused(state, problem, now_s)
    if state.blocked:
        return state, ()
    return replace(state, blocked=problem), (Decision("blocked", problem),)


def filed(state: RolloutState, decision: Decision) -> Result:
    """The registry has been told of the end."""
    return replace(state, filed=True), (decision,)
