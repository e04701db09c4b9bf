"""The ledger reproduces the paper's accounting, the fit obeys its budget, and every layer is explained."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.conftest import SMALL_ROWS, random_backbone
from tests.core.test_engine import some_task
from tinytrain_core.backbones.spec import load_spec, spec_from_rows
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place, Shelf
from tinytrain_core.engine.support import CleanFeatures
from tinytrain_core.engine.update import rows
from tinytrain_core.errors import BudgetError, ConfigurationError
from tinytrain_core.selection import cost
from tinytrain_core.selection.cost import Budget
from tinytrain_core.selection.criterion import best_channels, fit, rank, scores
from tinytrain_core.selection.fisher import Potential
from tinytrain_core.selection.footprint import least_footprint, training_footprint
from tinytrain_core.selection.live_memory import selection_bytes, training_bytes
from tinytrain_core.selection.methods import METHODS, Problem, method_by_name
from tinytrain_core.selection.methods.tinytrain import TinyTrain
from tinytrain_core.selection.plan import Inspection, Reason
from tinytrain_core.selection.workload import Workload

SMALL = spec_from_rows(SMALL_ROWS)
MCUNET = load_spec("mcunet-5fps")


# Table 2 of the paper: FullTrain and LastLayer backward MACs (M), LastLayer memory (MiB).
@pytest.mark.parametrize(
    ("name", "full", "last", "last_mib"),
    [("mcunet-5fps", 44.9, 1.47, 2.03), ("mbv2-w0.35", 34.9, 0.80, 1.64), ("proxyless-w0.3", 38.4, 0.59, 1.06)],
)
def test_table_2_rows_that_follow_from_shapes(name: str, full: float, last: float, last_mib: float) -> None:
    spec = load_spec(name)
    assert cost.full_train_backward_macs(spec) / 1e6 == pytest.approx(full, abs=0.05)
    counts = {len(spec.convs) - 1: spec.convs[-1].out_channels}
    assert cost.backward_macs(spec, rows(spec, counts)) / 1e6 == pytest.approx(last, abs=0.006)
    assert cost.paper_memory_bytes(spec, rows(spec, counts)) / 2**20 == pytest.approx(last_mib, abs=0.006)


def test_sparse_update_row_of_mcunet() -> None:
    """The public 99 kB scheme: weights of convolutions 21, 24, 27, 30 in full, 36 at 1/8, 39 at 1/4."""
    shares = {21: 1.0, 24: 1.0, 27: 1.0, 30: 1.0, 36: 1 / 8, 39: 1 / 4}
    counts = {i: round(share * MCUNET.convs[i].out_channels) for i, share in shares.items()}
    assert cost.backward_macs(MCUNET, rows(MCUNET, counts)) / 1e6 == pytest.approx(11.88, abs=0.01)
    assert cost.paper_memory_bytes(MCUNET, rows(MCUNET, counts)) / 2**20 == pytest.approx(1.426, abs=0.001)


def test_forward_peaks() -> None:
    peaks = {n: cost.forward_peak_bytes(load_spec(n)) / 2**20 for n in ("mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3")}
    assert peaks == {"mcunet-5fps": 0.625, "mbv2-w0.35": 0.875, "proxyless-w0.3": 0.5}


def test_score_by_hand() -> None:
    """Two layers of potential 1: the one with half the weights and a quarter of the MACs scores 8 times as much."""
    convs = MCUNET.convs
    potential = Potential(0, {i: torch.tensor([1.0]) for i in (3, 39)})
    found = scores(MCUNET, potential)
    expected = convs[39].weights * convs[39].macs / (convs[3].weights * convs[3].macs)
    assert found[3] / found[39] == pytest.approx(expected)
    assert found[39] == pytest.approx(
        1 / (convs[39].weights / max(c.weights for c in convs) * convs[39].macs / max(c.macs for c in convs))
    )


def test_rank_leaves_out_what_has_no_potential() -> None:
    assert rank({1: 0.5, 2: 0.0, 3: 2.0, 4: 0.5}) == [3, 4, 1]


def test_best_channels_are_the_largest() -> None:
    potential = Potential(0, {7: torch.tensor([0.1, 5.0, 0.2, 3.0])})
    assert best_channels(potential, {7: 2}) == {7: (1, 3)}


budgets = st.builds(Budget, st.integers(1, 3_000_000), st.integers(0, 3_000_000))
tables = st.dictionaries(st.integers(0, len(SMALL.convs) - 1), st.floats(0, 10), max_size=len(SMALL.convs))


@settings(deadline=None, max_examples=60)
@given(tables, budgets)
def test_a_fit_never_exceeds_its_budget(scored: dict[int, float], budget: Budget) -> None:
    work = Workload(SMALL, 10, 5)
    counts, decisions = fit(work, scored, budget)
    if counts:
        assert least_footprint(work, rows(SMALL, counts), budget, None).memory_bytes <= budget.memory_bytes
    assert cost.backward_macs(SMALL, rows(SMALL, counts)) <= budget.backward_macs
    assert set(decisions) == {i for i, s in scored.items() if s > 0}
    assert {i for i, d in decisions.items() if d.reason is Reason.TAKEN} == set(counts)
    for decision in decisions.values():
        if decision.reason is not Reason.TAKEN:
            assert decision.asked > decision.limit


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.integers(0, len(SMALL.convs) - 1), st.integers(1, 8), min_size=1), st.integers(0, 15))
def test_costs_grow_with_every_layer(counts: dict[int, int], another: int) -> None:
    assume(SMALL.block_start(another) >= SMALL.block_start(min(counts)))  # the prefix stays what it is
    work = Workload(SMALL, 10, 5)
    more = counts | {another: counts.get(another, 0) + 1}
    more = {i: min(n, SMALL.convs[i].out_channels) for i, n in more.items()}
    counts = {i: min(n, SMALL.convs[i].out_channels) for i, n in counts.items()}
    for execution in (Execution(20, False, Place.MEMORY), Execution(1, True, Place.FILE)):
        assert training_bytes(work, rows(SMALL, more), execution) >= training_bytes(
            work, rows(SMALL, counts), execution
        )
    assert cost.backward_macs(SMALL, rows(SMALL, more)) >= cost.backward_macs(SMALL, rows(SMALL, counts))


@pytest.mark.parametrize("storage", [0, 10_000, 10**9])
def test_the_least_footprint_is_the_least(storage: int) -> None:
    work, extent = Workload(SMALL, 10, 5), rows(SMALL, {6: 4, 9: 8})
    tiny = Budget(1, 10**9, storage)
    assert least_footprint(work, extent, tiny, None) == training_footprint(work, extent, tiny, None)


def problem(budget: Budget) -> Problem:
    backbone, task = random_backbone(SMALL), some_task(32)
    return Problem(CleanFeatures(backbone, task, Shelf()), task, budget, Workload(SMALL, len(task.images), task.ways))


def test_an_early_layer_pays_for_the_chain_behind_it() -> None:
    chain = cost.backward_macs(SMALL, rows(SMALL, {3: 1})) - cost.backward_macs(SMALL, rows(SMALL, {4: 1}))
    behind = SMALL.convs[4].macs
    own = SMALL.convs[3].macs // SMALL.convs[3].out_channels - SMALL.convs[4].macs // SMALL.convs[4].out_channels
    assert chain == behind + own


def test_tinytrain_explains_every_layer() -> None:
    macs = cost.full_train_backward_macs(SMALL)
    plan = TinyTrain(window_blocks=4).plan(problem(Budget(300_000, macs // 6)))
    assert len(plan.decisions) == len(SMALL.convs)
    assert plan.updates
    reasons = [d.reason for d in plan.decisions]
    assert reasons[: SMALL.window_start(4)] == [Reason.OUTSIDE_WINDOW] * SMALL.window_start(4)
    assert Reason.OVER_COMPUTE in reasons
    assert plan.explain().count("\n") == len(SMALL.convs) - 1
    for index, chosen in plan.updates.items():
        assert len(chosen.outputs) <= max(1, SMALL.convs[index].out_channels // 2)


def test_the_window_shrinks_until_the_selection_pass_fits() -> None:
    macs = cost.full_train_backward_macs(SMALL)
    wide = TinyTrain().plan(problem(Budget(10**9, macs)))
    assert wide.inspection == Inspection(SMALL.window_start(6), Execution(6, False, Place.MEMORY))
    leanest = Execution(1, True, Place.NOWHERE)
    needed = selection_bytes(Workload(SMALL, 6, 3), SMALL.window_start(6), leanest)
    just = TinyTrain().plan(problem(Budget(needed, macs)))
    assert just.inspection == Inspection(SMALL.window_start(6), leanest)
    tight = TinyTrain().plan(problem(Budget(needed - 1, macs)))
    assert tight.inspection is not None
    assert tight.inspection.start > SMALL.window_start(6)


def test_a_device_that_affords_nothing_learns_what_it_would_need() -> None:
    plan = TinyTrain().plan(problem(Budget(1000, 10**9)))
    assert not plan.updates
    assert plan.needed_bytes > 1000
    assert plan.decisions[-1].reason is Reason.OVER_MEMORY
    assert "1,000 B" in plan.explain()


def test_no_compute_means_no_plan() -> None:
    assert not TinyTrain().plan(problem(Budget(10**9, 0))).updates


def test_baselines_prescribe() -> None:
    plans = {
        name: method.plan(problem(Budget(10**9, 10**9)))
        for name, method in ((n, method_by_name(n)) for n in METHODS if n != "sparse_update")
    }
    assert not plans["none"].updates
    assert list(plans["last_layer"].updates) == [len(SMALL.convs) - 1]
    assert cost.updated_weights(SMALL, plans["full_train"].extent) == SMALL.weights


def test_methods_have_numbers_of_their_own() -> None:
    assert len({method.number for method in METHODS.values()}) == len(METHODS)
    with pytest.raises(ConfigurationError, match="tinytrain"):
        method_by_name("magic")


@pytest.mark.parametrize(("memory", "macs"), [(0, 10), (-5, 10), (10, -1)])
def test_impossible_budgets(memory: int, macs: int) -> None:
    with pytest.raises(BudgetError, match=str(memory)):
        Budget(memory, macs)
