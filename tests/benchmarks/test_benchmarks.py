"""The arms of the benchmark do the same work: one episode, one loss, the same views. Nothing is timed here."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import accuracy, memory, pages
from benchmarks.baselines import Naive
from benchmarks.cases import make_case
from benchmarks.ours import personalise, unlimited
from benchmarks.speed import Ratio, Spread
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import ConfigurationError


@pytest.mark.parametrize("name", ["mbv2-w0.35", "mcunet-5fps"])
def test_all_arms_begin_with_the_same_loss(name: str) -> None:
    case = make_case(name, steps=2)
    ours = personalise(case, unlimited(case), 2)
    arms = [Naive(case), Naive(case, channels_last=True), Naive(case, ours.plan), Naive(case, ours.plan, True)]
    assert len(ours.losses) == 2
    for arm in arms:
        assert arm.run()[0] == pytest.approx(ours.losses[0], rel=1e-3)


def test_the_sparse_baseline_changes_what_the_plan_names() -> None:
    case = make_case("mcunet-5fps", steps=1)
    plan = personalise(case, unlimited(case), 2).plan
    naive = Naive(case, plan)
    naive.run()
    for index, (before, after) in enumerate(zip(case.network.layers, naive.network.layers, strict=True)):
        changed = (before.conv.weight != after.conv.weight).flatten(1).any(1).nonzero().flatten().tolist()
        assert set(changed) <= set(plan.updates[index].outputs if index in plan.updates else ())
        assert bool(changed) == (index in plan.updates)


def test_allocated_bytes_count_what_autograd_saves() -> None:
    x = torch.ones(1000, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        y = (x * 2).exp().exp()
        del y
    assert memory._allocated(watched) >= 2 * 4000


def test_spreads() -> None:
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(2.0, 3.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_the_plot_is_an_svg_with_every_backbone() -> None:
    spread = Spread(1.0, 2.0, 3.0)
    ratios = [Ratio(name, 2, "naive full", 20.0, spread, spread) for name in ("mbv2-w0.35", "mcunet-5fps")]
    page = pages.draw_speed(ratios).decode()
    assert page.startswith("<?xml")
    assert page == pages.draw_speed(ratios).decode()


def test_a_setting_is_varied_and_paired(mcunet: Backbone) -> None:
    settings = accuracy.varied(TrainingSettings(steps=2), "views=0,2")
    assert [chosen.views for _, chosen in settings] == [0, 2]
    episodes = accuracy.tasks("glyphs:validation", 2, 128, seed=1)
    same, other = accuracy.effects(mcunet, episodes, accuracy.budget_of("pi_4", mcunet), settings, lambda _: None)
    assert same.difference.mean == 0
    assert other.difference.mean == pytest.approx(other.gain.mean - same.gain.mean)


@pytest.mark.parametrize("change", ["views", "magic=1", "views=one", "augmentation=1", "precision=quarter"])
def test_a_setting_that_cannot_be_varied(change: str) -> None:
    with pytest.raises(ConfigurationError):
        accuracy.varied(TrainingSettings(), change)
