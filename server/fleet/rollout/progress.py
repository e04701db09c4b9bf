"""What becomes of one node of a rollout when something happens to it. Pure; times are given."""

from collections.abc import Iterable
from dataclasses import replace

from server.fleet.rollout.figure import Figure
from server.fleet.rollout.state import Progress, RolloutState, Step
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeState, NodeStatus
from tinytrain_core.report import Outcome

# Refusals that the same order would meet again.
FINAL = frozenset(
    (
        ErrorCode.CONFIGURATION,
        ErrorCode.REQUEST,
        ErrorCode.SIGNATURE,
        ErrorCode.RELEASE_EXPIRED,
        ErrorCode.ROLLBACK,
        ErrorCode.CLIENT_TOO_OLD,
        ErrorCode.MANIFEST,
        ErrorCode.CLOCK,
    )
)


def code_name(code: int) -> str:
    """An error code in words."""
    return ErrorCode(code).name.lower().replace("_", " ")


def ordered(node: Progress, deadline_s: float) -> Progress:
    """It gets an order, which ends at the time `deadline_s`."""
    return replace(
        node,
        step=Step.ORDERED,
        attempt=node.attempt + 1,
        tries=node.tries + 1,
        accepted=False,
        deadline_s=deadline_s,
        note="",
        refused=0,
    )


def attempt_failed(node: Progress, state: RolloutState, now_s: float, note: str) -> Progress:
    """Its order came to nothing: it waits for another, or has had the last."""
    if node.step is not Step.ORDERED:
        return node
    if node.tries > state.spec.retries:
        return replace(node, step=Step.FAILED, note=note)
    pause_s = state.spec.backoff_s * 2 ** (node.tries - 1)
    return replace(node, step=Step.WAITING, accepted=False, not_before_s=now_s + pause_s, note=note)


def refused(node: Progress, state: RolloutState, now_s: float, code: int) -> Progress:
    """It refused its order: for good, or as it may not do again."""
    if code in FINAL and node.step is Step.ORDERED:
        return replace(node, step=Step.REFUSED, refused=code, note=f"refused: {code_name(code)}")
    return replace(attempt_failed(node, state, now_s, f"refused: {code_name(code)}"), refused=code)


def _counts(node: Progress, figure: Figure) -> bool:
    """Whether a figure is of one of its devices, and of an order of the release that it was given."""
    last = node.back_from - 1 if node.back_from else node.attempt
    return figure.device in node.devices and 1 <= figure.attempt <= last


def reported(node: Progress, figures: Iterable[Figure]) -> Progress:
    """Figures came, of which the best of each device counts: neither their order nor their number matters."""
    best = {figure.device: figure for figure in node.figures}
    for figure in figures:
        before = best.get(figure.device)
        if _counts(node, figure) and (before is None or before.rank < figure.rank):
            best[figure.device] = figure
    node = replace(node, figures=tuple(best[device] for device in sorted(best)))
    if node.owes or node.back_from or not node.attempt:
        return node
    return replace(node, step=Step.DONE, note="")


def _state_note(status: NodeStatus) -> str:
    return NodeState(status.state).name.lower().replace("_", " ") if status.state else ""


def _ended(node: Progress) -> str:
    """Why an order that has ended is not done."""
    told = [f"device {figure.device}: {code_name(figure.error)}" for figure in node.figures if figure.transient]
    return "; ".join(told) or f"it ended without a report of device {', '.join(map(str, node.owes))}"


def heard(
    node: Progress, state: RolloutState, status: NodeStatus, delivered: int, to_order: bool, now_s: float
) -> Progress:
    """It answered; the figures of that answer are in already.

    Args:
        delivered: reports that came with it.
        to_order: whether this answers its present order, not a question.
    """
    if node.step is not Step.ORDERED:
        return node
    if to_order and status.refused:
        return refused(node, state, now_s, status.refused)
    if (status.rollout, status.attempt) != (state.number, node.attempt):
        lost = node.accepted or to_order
        return attempt_failed(node, state, now_s, "it does not know its order") if lost else node
    node = replace(node, accepted=True, note=_state_note(status))
    if node.back_from and status.version == state.back_to:
        return replace(node, step=Step.DONE, note="")
    ended = status.state == NodeState.IDLE and status.pending <= delivered
    if ended and node.back_from:
        return attempt_failed(node, state, now_s, f"it ended and still uses release {status.version}")
    return attempt_failed(node, state, now_s, _ended(node)) if ended and node.owes else node


def anew(node: Progress, state: RolloutState, now_s: float) -> Progress:
    """Its halted stage is resumed: where it failed it gets an order again, and reports anew."""
    excused = state.spec.gates.excused_codes
    kept = tuple(each for each in node.figures if each.outcome != Outcome.FAILED or each.error in excused)
    failed = node.step in (Step.FAILED, Step.REFUSED) or len(kept) < len(node.figures)
    if not failed or node.stage != state.stage:
        return node
    return replace(
        node,
        step=Step.WAITING,
        tries=0,
        accepted=False,
        not_before_s=now_s,
        note="",
        refused=0,
        figures=kept,
    )


def turned_back(node: Progress, now_s: float) -> Progress:
    """The roll-back begins: whoever was ordered is due the roll-back order, and the others nothing."""
    if not node.attempt:
        return node
    return replace(
        node,
        step=Step.WAITING,
        tries=0,
        back_from=node.attempt + 1,
        accepted=False,
        not_before_s=now_s,
        note="",
        refused=0,
    )


def tended(node: Progress, state: RolloutState, now_s: float, online: bool) -> Progress:
    """Time has passed."""
    if node.step is Step.ORDERED and now_s >= node.deadline_s:
        said = node.note or ("at work" if node.accepted else "no answer")
        return attempt_failed(node, state, now_s, f"late: {said}")
    gone = node.step is Step.WAITING and node.tries and not online and not node.back_from
    if gone and now_s >= node.not_before_s + state.spec.deadline_of(node.stage):
        return replace(node, step=Step.FAILED, note=f"not online any more; {node.note}")
    return node
