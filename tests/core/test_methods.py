"""What the methods choose and prescribe, and that they keep to it."""

from dataclasses import dataclass

import pytest
import torch

from tests.conftest import SMALL_ROWS, random_backbone
from tests.core.test_engine import some_task
from tinytrain_core.backbones.spec import backbone_names, load_spec, spec_from_rows
from tinytrain_core.engine.features import Shelf
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.engine.support import CleanFeatures
from tinytrain_core.engine.update import Update
from tinytrain_core.errors import BackboneError, ConfigurationError
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.personalise import personalise
from tinytrain_core.report import Outcome
from tinytrain_core.selection import cost
from tinytrain_core.selection.cost import UNLIMITED, Budget, study_budget
from tinytrain_core.selection.methods import METHODS, Method, Problem, method_by_name
from tinytrain_core.selection.plan import Reason, UpdatePlan
from tinytrain_core.selection.workload import Workload

SMALL = spec_from_rows(SMALL_ROWS)
SHORT = TrainingSettings(steps=2)
PLENTY = Budget(UNLIMITED, 10**12)


def problem(budget: Budget = PLENTY) -> Problem:
    task = some_task(32)
    clean = CleanFeatures(random_backbone(SMALL), task, Shelf())
    return Problem(clean, task, budget, Workload(SMALL, len(task.images), task.ways))


def episode(n: int = 6) -> Episode:
    task = some_task(32, n)
    return Episode(task.images, task.labels, task.images, task.labels, task.ways)


@pytest.mark.parametrize("channels", ["fisher", "l2", "random"])
def test_channels_are_ranked_as_asked(channels: str) -> None:
    asked = problem()
    plan = method_by_name(f"tinytrain:channels={channels}").plan(asked)
    assert plan.extent == method_by_name("tinytrain").plan(asked).extent
    weight = asked.backbone.weights[plan.first].flatten(1).norm(dim=1)
    heaviest = tuple(sorted(weight.argsort(descending=True)[: len(plan.updates[plan.first].outputs)].tolist()))
    assert (plan.updates[plan.first].outputs == heaviest) == (channels == "l2")


def test_random_channels_follow_the_seed() -> None:
    plans = []
    for seed in (1, 1, 2):
        asked = problem()
        plans.append(method_by_name("tinytrain:channels=random").plan(Problem(*list(vars(asked).values())[:4], seed)))
    assert plans[0].updates == plans[1].updates != plans[2].updates


def test_a_static_choice_is_the_same_for_every_task() -> None:
    asked = problem()
    static, dynamic = (method_by_name(f"tinytrain:selection={s},ratio=0.25") for s in ("static", "dynamic"))
    other = some_task(32, 9)
    task = Problem(CleanFeatures(asked.backbone, other, Shelf()), other, PLENTY, Workload(SMALL, 9, 3))
    assert static.plan(asked).updates == static.plan(task).updates
    assert static.plan(asked).inspection is None
    assert dynamic.plan(asked).updates != static.plan(asked).updates


@pytest.mark.parametrize(("share", "left"), [(25, 3), (50, 2), (75, 1)])
def test_adapter_drop_begins_at_its_first_adapter(share: int, left: int) -> None:
    plan = method_by_name(f"adapter_drop:share={share}").plan(problem())
    assert len(plan.adapters) == left
    assert plan.first == next(c.index for c in SMALL.convs if c.block == plan.adapters[0])
    assert set(plan.updates) == {c.index for c in SMALL.convs[plan.first :]}


def test_tinytl_trains_no_weight_of_the_backbone() -> None:
    plan = method_by_name("tinytl").plan(problem())
    assert plan.adapters == (1, 2, 3, 4)
    assert set(plan.updates) == {c.index for c in SMALL.convs}
    assert all(update.inputs == () for update in plan.updates.values())


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"sparse_update"}))
def test_every_method_personalises(name: str) -> None:
    report = personalise(random_backbone(SMALL), episode(), PLENTY, name).report
    expected = (Outcome.NOT_ADAPTED,) if name == "none" else (Outcome.ADAPTED, Outcome.KEPT_BASE)
    assert report.outcome in expected
    assert report.measured_memory_bytes <= 1.002 * report.live_memory_bytes


def test_transductive_sees_the_images_and_not_their_labels() -> None:
    given = episode()
    hidden = Episode(given.support, given.support_labels, given.query, torch.zeros_like(given.query_labels), given.ways)
    backbone = random_backbone(SMALL)
    losses = [personalise(backbone, one, PLENTY, "transductive").report.loss_last for one in (given, hidden)]
    assert losses[0] == losses[1]
    assert losses[0] != personalise(backbone, given, PLENTY, "full_train").report.loss_last


@pytest.mark.parametrize("name", backbone_names())
def test_a_study_budget_is_the_paper_s(name: str) -> None:
    spec = load_spec(name)
    budget = study_budget(spec)
    assert budget.backward_macs == int(0.15 * cost.full_train_backward_macs(spec))
    expected = {"mbv2-w0.35": 1.125}.get(name, 1.0)
    assert budget.paper_bytes == expected * 2**20


def test_a_window_beyond_the_backbone_is_all_of_it() -> None:
    """And asks no more often than there are blocks, whatever a server says."""
    little = problem(Budget(1000, 10**9))
    assert not method_by_name("tinytrain:window_blocks=999999999").plan(little).updates


def test_a_static_choice_is_within_the_memory_and_counted() -> None:
    backbone = random_backbone(load_spec("mcunet-5fps"))
    task = some_task(128, 3)
    whole = Episode(task.images, task.labels, task.images, task.labels, task.ways)
    for memory in (1_200_000, 8_000_000):
        report = personalise(
            backbone, whole, Budget(memory, 10**7), "tinytrain:selection=static", settings=SHORT
        ).report
        assert report.outcome in (Outcome.ADAPTED, Outcome.KEPT_BASE)
        assert report.measured_memory_bytes <= 1.002 * report.live_memory_bytes <= 1.002 * memory


def test_a_plan_of_what_is_not_there_is_refused_before_it_is_costed(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(self: Method, asked: Problem) -> UpdatePlan:
        return UpdatePlan(SMALL, {99: Update((0,))})

    members = {"name": "wrong", "number": 62, "plan": plan}
    monkeypatch.setitem(METHODS, "wrong", dataclass(frozen=True)(type("Wrong", (Method,), members)))
    with pytest.raises(BackboneError, match="a plan of convolutions"):
        personalise(random_backbone(SMALL), episode(), PLENTY, "wrong")


def test_naming_every_input_is_naming_none() -> None:
    conv = SMALL.convs[9]
    assert Update((0, 1), tuple(range(conv.in_channels))).simplified(conv) == Update((0, 1))


@pytest.mark.parametrize("name", backbone_names())
def test_deep_reaches_deeper_within_the_same_budget(name: str) -> None:
    """A device of 1 MiB, and the study's budget in the paper's ledger."""
    backbone, task = random_backbone(load_spec(name)), some_task(128, 9)
    spec = backbone.spec
    whole = Episode(task.images, task.labels, task.images, task.labels, task.ways)
    macs = int(0.15 * cost.full_train_backward_macs(spec))
    for budget in (study_budget(spec), Budget(2**20, macs, 2**20)):
        results = [personalise(backbone, whole, budget, m, settings=SHORT) for m in ("tinytrain", "tinytrain_deep")]
        shallow, deep = (result.plan for result in results)
        report = results[1].report
        assert deep.first < shallow.first
        assert set(deep.updates) == set(range(deep.first, len(spec.convs)))
        reasons = [d.reason for d in deep.decisions[deep.first :]]
        assert {Reason.TAKEN, Reason.WAY_BACK} == set(reasons)
        assert report.backward_macs <= macs
        assert cost.backward_macs(spec, deep.extent) <= 2 * macs
        assert report.measured_memory_bytes <= 1.002 * report.live_memory_bytes <= 1.002 * budget.memory_bytes
        if budget.paper_bytes is not None:
            assert report.paper_memory_bytes <= budget.paper_bytes


def test_deep_needs_compute_for_a_way_back() -> None:
    little = problem(Budget(UNLIMITED, SMALL.convs[-1].macs // 4))
    plan = method_by_name("tinytrain_deep").plan(little)
    assert list(plan.updates) == [len(SMALL.convs) - 1]
    biases_only = method_by_name("tinytrain_deep").plan(problem(Budget(UNLIMITED, 10)))
    assert biases_only.updates == {15: Update(tuple(range(40)), ())}
    nothing = method_by_name("tinytrain_deep").plan(problem(Budget(1000, 10**9)))
    assert not nothing.updates
    assert nothing.needed_bytes > 1000
    with pytest.raises(ConfigurationError, match="chain_share of 0"):
        method_by_name("tinytrain_deep:chain_share=0")
