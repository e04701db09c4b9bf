"""The one pure call, end to end on a real backbone and real glyphs."""

import pytest
import torch

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import ConfigurationError, ErrorCode
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.episodes import Episode, personal_episode
from tinytrain_core.fewshot.prototypes import accuracy
from tinytrain_core.fewshot.users import UserShare, user_source
from tinytrain_core.personalise import Personalisation, personalise
from tinytrain_core.report import Outcome, validate_report
from tinytrain_core.seeds import generator
from tinytrain_core.selection.cost import Budget, full_train_backward_macs

QUICK = TrainingSettings(steps=3)


@pytest.fixture(scope="module")
def episode() -> Episode:
    source = user_source("glyphs", UserShare(number=4, users=10, min_ways=3, max_ways=3))
    return personal_episode(source, 3, 3, 128, generator(1))


def on(device: str, backbone: Backbone, episode: Episode, method: str = "tinytrain") -> Personalisation:
    budget = device_profile(device).budget(full_train_backward_macs(backbone.spec))
    return personalise(backbone, episode, budget, method, seed=5, settings=QUICK)


def test_unequal_devices_choose_differently_and_stay_within_budget(mcunet: Backbone, episode: Episode) -> None:
    results = {device: on(device, mcunet, episode) for device in ("stm32h743", "esp32s3", "jetson_nano")}
    for result in results.values():
        report = result.report
        assert report.outcome in (Outcome.ADAPTED, Outcome.KEPT_BASE)
        assert 0 < report.live_memory_bytes <= report.memory_budget_bytes
        assert report.measured_memory_bytes <= 1.001 * report.live_memory_bytes
        assert report.measured_memory_bytes >= 0.97 * report.live_memory_bytes
        assert report.storage_bytes <= report.storage_budget_bytes
        assert 0 < report.backward_macs <= report.backward_macs_budget
        assert sum(n > 0 for n in report.updated_channels) == report.updated_layers
        assert report.steps == 3
        assert report.total_macs > 0
        validate_report(report.model_dump())
    assert results["stm32h743"].plan.updates != results["jetson_nano"].plan.updates
    assert results["stm32h743"].report.samples_alive == 1
    assert results["jetson_nano"].report.samples_alive == 2 * len(episode.support)


def test_same_seed_same_report(mcunet: Backbone, episode: Episode) -> None:
    first, second = (on("pi_zero_2w", mcunet, episode) for _ in range(2))
    assert first.report == second.report
    assert first.plan == second.plan


def test_the_delta_is_what_the_report_judged(mcunet: Backbone, episode: Episode) -> None:
    result = on("pi_zero_2w", mcunet, episode)
    if result.report.outcome == Outcome.ADAPTED:
        assert result.delta is not None
        adapted = result.delta.apply(mcunet)
        support, query = (adapted.embed(scale_pixels(images)) for images in (episode.support, episode.query))
        found = accuracy(support, episode.support_labels, query, episode.query_labels, episode.ways)
        assert found == result.report.accuracy_after
    else:
        assert result.delta is None
        assert result.report.accuracy_after < result.report.accuracy_before


def test_a_device_that_affords_nothing_keeps_the_base(mcunet: Backbone, episode: Episode) -> None:
    result = on("stm32f746", mcunet, episode)
    assert result.report.outcome == Outcome.CANNOT_AFFORD
    assert result.delta is None
    assert result.report.updated_weights == 0
    assert result.report.live_memory_bytes > result.report.memory_budget_bytes
    assert result.report.accuracy_after == result.report.accuracy_before


@pytest.mark.parametrize("budget", [Budget(400_000, 10**9), Budget(10**8, 0)], ids=["memory", "compute"])
def test_what_is_reported_as_needed_is_more_than_there_is(mcunet: Backbone, episode: Episode, budget: Budget) -> None:
    report = personalise(mcunet, episode, budget, settings=QUICK).report
    assert report.outcome == Outcome.CANNOT_AFFORD
    assert report.live_memory_bytes > budget.memory_bytes or report.backward_macs > budget.backward_macs
    assert (report.total_macs > 0) == (budget.memory_bytes == 10**8)
    assert (report.measured_memory_bytes > 0) == (budget.memory_bytes == 10**8)


def test_full_train_does_not_fit_a_microcontroller(mcunet: Backbone, episode: Episode) -> None:
    result = on("stm32h743", mcunet, episode, "full_train")
    assert result.report.outcome == Outcome.CANNOT_AFFORD
    assert result.report.live_memory_bytes > result.report.memory_budget_bytes
    assert "over the memory budget" in result.plan.explain()


def test_none_only_measures(mcunet: Backbone, episode: Episode) -> None:
    report = on("pi_4", mcunet, episode, "none").report
    assert report.outcome == Outcome.NOT_ADAPTED
    assert report.accuracy_after == report.accuracy_before > 0


def test_more_memory_never_means_a_smaller_plan_at_equal_compute(mcunet: Backbone, episode: Episode) -> None:
    macs = full_train_backward_macs(mcunet.spec) // 6
    sizes = []
    for memory in (950_000, 1_200_000, 3_000_000):
        result = personalise(mcunet, episode, Budget(memory, macs), settings=TrainingSettings(steps=0))
        sizes.append(result.report.updated_weights)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_unknown_names(mcunet: Backbone, episode: Episode) -> None:
    with pytest.raises(ConfigurationError, match="unknown method"):
        on("pi_4", mcunet, episode, "magic")
    with pytest.raises(ConfigurationError, match="unknown optimiser"):
        TrainingSettings(optimiser="magic")


def test_global_random_state_is_untouched(mcunet: Backbone, episode: Episode) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    on("pi_4", mcunet, episode)
    assert torch.equal(torch.rand(3), expected)


def test_a_training_that_diverges_is_recorded_and_nothing_of_it_kept(mcunet: Backbone, episode: Episode) -> None:
    budget = device_profile("jetson_nano").budget(full_train_backward_macs(mcunet.spec))
    result = personalise(mcunet, episode, budget, settings=TrainingSettings(steps=9, learning_rate=1e38))
    assert result.delta is None
    assert result.report.outcome == Outcome.FAILED
    assert result.report.error == ErrorCode.TRAINING_DIVERGED
    assert result.report.steps < 9
    assert result.report.updated_weights > 0
    assert result.report.accuracy_after == result.report.accuracy_before > 0
    validate_report(result.report.model_dump())


def test_storage_saves_time_and_not_the_result(mcunet: Backbone, episode: Episode) -> None:
    """With room for features in a file a small device does what one without does, in fewer MACs."""
    macs = full_train_backward_macs(mcunet.spec) // 6
    exact = TrainingSettings(steps=3, precision="full")
    without, with_file = (
        personalise(mcunet, episode, Budget(1_100_000, macs, storage), settings=exact) for storage in (0, 2**22)
    )
    assert without.report.storage_bytes == 0
    assert 0 < with_file.report.storage_bytes < 2**22
    assert with_file.report.total_macs < without.report.total_macs
    assert with_file.report.updated_weights >= without.report.updated_weights > 0
