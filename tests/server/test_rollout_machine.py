from collections.abc import Collection, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from server.fleet.rollout import events, machine, phases
from server.fleet.rollout.figure import Figure
from server.fleet.rollout.spec import Gates, RolloutSpec, Stage
from server.fleet.rollout.state import (
    Phase,
    Progress,
    RolloutState,
    Step,
    progress_from_json,
    progress_to_json,
    state_from_json,
    state_to_json,
)
from server.fleet.rollout.targeting import Member, cuts
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import NodeStatus
from tinytrain_core.report import Outcome

COUNT, RETRIES, CONCURRENCY = 9, 2, 3
NAMES = [f"n{number}" for number in range(COUNT)]
SPEC = RolloutSpec(
    name="r",
    release=2,
    stages=(Stage(devices=2), Stage(percent=40), Stage(percent=100)),
    deadline_s=100,
    retries=RETRIES,
    backoff_s=10,
    concurrency=CONCURRENCY,
    gates=Gates(min_reports=2, max_share_failed=0.5, max_share_worse=None, min_gain_lower_bound=None),
)


def members(count: int = COUNT) -> list[Member]:
    """Nodes with one or two devices."""
    return [Member(f"{n:064x}", NAMES[n], (n, 100 + n) if n % 3 == 0 else (n,)) for n in range(count)]


def rollout(spec: RolloutSpec = SPEC) -> RolloutState:
    state = RolloutState(spec, 2, "d" * 64, cuts(spec, members()), number=1, back_to=1)
    return events.joined(state, members())


def advance(state: RolloutState, now_s: float, online: Collection[str]) -> phases.Result:
    """What the controller does in a pass."""
    state, decisions = machine.advance(state, now_s, online)
    return machine.ordered(state, now_s, online), decisions


OUTCOMES = st.sampled_from(
    [
        (Outcome.ADAPTED, 0),
        (Outcome.KEPT_BASE, 0),
        (Outcome.FAILED, ErrorCode.STORAGE),
        (Outcome.FAILED, ErrorCode.TOO_LATE),
        (Outcome.FAILED, ErrorCode.NO_IMAGES),
    ]
)
FIGURES = st.builds(
    lambda device, attempt, report_id, outcome, after: Figure(
        device, attempt, report_id, outcome[0], outcome[1], 0.5, after
    ),
    st.integers(0, 2) | st.integers(100, 102),
    st.integers(1, 3),
    st.integers(1, 10**6),
    OUTCOMES,
    st.floats(0, 1),
)


@settings(deadline=None)
@given(st.lists(FIGURES, max_size=12, unique_by=lambda figure: figure.report_id), st.data())
def test_reports_give_the_same_state_in_any_order_and_however_often(found: list[Figure], data: st.DataObject) -> None:
    state = rollout()
    for number in range(3):
        state, _ = advance(state, 10.0 * number, NAMES)
    shuffled = data.draw(st.permutations(found + data.draw(st.lists(st.sampled_from(found)) if found else st.just([]))))
    at_once = state
    for name in NAMES:
        at_once = events.reported(at_once, name, found)
    one_by_one = state
    for figure in shuffled:
        for name in NAMES:
            one_by_one = events.reported(one_by_one, name, [figure])
    assert one_by_one == at_once
    assert advance(one_by_one, 50.0, NAMES) == advance(at_once, 50.0, NAMES)


OFTEN = ["advance"] * 2 + ["all done"] * 8 + ["done", "failed", "late", "refused", "invalid", "lost", "forgot"]
SELDOM = ["offline", "online", "pause", "resume", "keep", "roll back", "added", "removed", "jump"]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(OFTEN) | st.sampled_from(SELDOM),
        st.integers(0, COUNT - 1),
        st.integers(1, 60),
    ),
    min_size=5,
    max_size=80,
)


def heard(state: RolloutState, name: str, now_s: float, what: str) -> RolloutState:
    """A node answers about its present order."""
    node = state.nodes[name]
    status = NodeStatus(rollout=1, attempt=node.attempt, version=1 if node.back_from else 2)
    if what == "refused":
        status = status.model_copy(update={"refused": ErrorCode.SIGNATURE})
    if what == "forgot":
        status = NodeStatus()
    outcome = {"done": (Outcome.ADAPTED, 0), "failed": (Outcome.FAILED, 50), "late": (Outcome.FAILED, 81)}.get(what)
    if outcome:
        found = [Figure(device, node.attempt, 1, *outcome, before=0.5, after=0.6) for device in node.devices]
        state = events.reported(state, name, found)
    return events.heard(state, name, status, 2, True, now_s)


def act(state: RolloutState, what: str, name: str, now_s: float, online: set[str]) -> RolloutState:
    if what in ("online", "offline"):
        online.add(name) if what == "online" else online.discard(name)
    elif what == "pause":
        return phases.paused(state, "x", now_s)[0]
    elif what == "resume":
        return phases.resumed(state, "x", now_s)[0]
    elif what in ("keep", "roll back") and name == "n0":
        return phases.aborted(state, "x", now_s, what == "roll back")[0]
    elif what == "added":
        return events.joined(state, [Member("8" * 64, "new", (77,))])
    elif what == "removed" and name == "n8":
        return events.left(state, [name])
    elif what == "jump":
        return events.shifted(state, 0.0)
    elif what == "all done":
        for each, node in state.nodes.items():
            state = heard(state, each, now_s, "done") if node.step is Step.ORDERED else state
    elif name in state.nodes and what == "invalid":
        return events.invalid(state, name, now_s)
    elif name in state.nodes and what == "lost":
        return events.unreachable(state, name)
    elif name in state.nodes and state.nodes[name].step is Step.ORDERED:
        return heard(state, name, now_s, what)
    return state


def _fetches(node: Progress) -> bool:
    return node.step is Step.ORDERED and not node.accepted


def check(before: RolloutState, after: RolloutState, online: Collection[str], resumed: int) -> None:
    """What holds from one state to the next, whatever happened."""
    ended = (Phase.HALTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ABORTED)
    assert before.stage <= after.stage < len(SPEC.stages)
    fetching = [node for name, node in after.nodes.items() if _fetches(node) and name in online]
    grown = sum(after.nodes[name].attempt > node.attempt for name, node in before.nodes.items() if name in after.nodes)
    assert len(fetching) <= CONCURRENCY or not grown
    for name, node in after.nodes.items():
        assert node.tries <= RETRIES + 1
        assert node.attempt <= (resumed + 2) * (RETRIES + 1)
        assert node.attempt == 0 or node.stage <= after.stage
        assert not node.back_from or node.attempt >= node.back_from - 1
        if name in before.nodes and before.phase in ended and node.attempt > before.nodes[name].attempt:
            assert node.back_from or before.phase is Phase.HALTED  # resumed in between
            assert before.nodes[name].attempt or before.phase is Phase.HALTED
    assert state_from_json(state_to_json(after)) == replace(after, nodes={})
    assert {name: progress_from_json(progress_to_json(node)) for name, node in after.nodes.items()} == after.nodes


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_whatever_happens_stages_come_in_turn_and_orders_are_bounded(actions: Sequence[tuple[str, int, int]]) -> None:
    state, now_s, online = rollout(), 0.0, set(NAMES)
    began, resumed = list[str](), 0
    for what, number, seconds in actions:
        before = state
        state = act(state, what, NAMES[number], now_s, online)
        now_s += seconds
        state, decisions = advance(state, now_s, online)
        began += [d.reason[:7] for d in decisions if d.what == "stage began"]
        resumed += what == "resume"
        check(before, state, online, resumed)
    assert began == ["stage 2", "stage 3"][: len(began)]
    assert state.stage == len(began)


@settings(deadline=None)
@given(st.sets(st.integers(0, COUNT - 1)))
def test_it_always_ends(silent: set[int]) -> None:
    """However many nodes are away or silent, a rollout that nobody pauses comes to an end."""
    state, now_s = rollout(), 0.0
    away = {NAMES[number] for number in silent if number % 2}
    for _ in range(400):
        now_s += 10.0
        state, _ = advance(state, now_s, set(NAMES) - away)
        for name, node in state.nodes.items():
            if node.step is Step.ORDERED and int(name[1:]) not in silent:
                state = heard(state, name, now_s, "done")
    assert state.phase in (Phase.COMPLETED, Phase.ROLLED_BACK, Phase.HALTED)
