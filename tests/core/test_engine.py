"""The engine computes what plain autograd does, however it is executed, and touches what the plan names."""

import math
from dataclasses import replace

import pytest
import torch

from tests.conftest import random_backbone, random_network
from tinytrain_core.backbones.folding import Backbone, fold
from tinytrain_core.backbones.spec import BackboneSpec, backbone_names, load_spec
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.execution import Execution, executions
from tinytrain_core.engine.features import Place, Shelf
from tinytrain_core.engine.finetune import Training, finetune
from tinytrain_core.engine.memory import LiveBytes
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.engine.support import CleanFeatures, Task, Views
from tinytrain_core.engine.update import whole
from tinytrain_core.errors import BackboneError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.prototypes import accuracy, prototype_loss
from tinytrain_core.seeds import torch_generator
from tinytrain_core.selection.plan import UpdatePlan, prescribed

WAYS = 3
ONE_STEP = TrainingSettings(steps=1)


def some_task(resolution: int, n: int = 6) -> Task:
    """Images of large patches, which tell even a random backbone more than noise would."""
    patches = torch.randint(0, 256, (n, 3, 4, 4), dtype=torch.uint8, generator=torch_generator(5))
    images = patches.repeat_interleave(resolution // 4, 2).repeat_interleave(resolution // 4, 3)
    return Task(images, torch.arange(n) % WAYS, WAYS)


def mixed_plan(backbone: Backbone) -> UpdatePlan:
    """Every second channel of a depthwise, both kinds of pointwise, and the last convolution."""
    spec = backbone.spec
    chosen = [*[c for c in spec.convs if c.block in (2, 3, 4)][1:], spec.convs[-1]]
    return UpdatePlan(spec, whole({c.index: tuple(range(0, c.out_channels, 2)) for c in chosen}))


def trained(
    backbone: Backbone,
    task: Task,
    plan: UpdatePlan,
    settings: TrainingSettings,
    execution: Execution,
    shelf: Shelf | None = None,
) -> Training:
    clean = CleanFeatures(backbone, task, shelf or Shelf(settings.precision))
    return finetune(backbone, task, plan, settings, execution, 3, clean)


def adapted(
    backbone: Backbone, task: Task, plan: UpdatePlan, settings: TrainingSettings, execution: Execution
) -> Backbone:
    delta = trained(backbone, task, plan, settings, execution).delta
    assert delta is not None
    return delta.apply(backbone)


def all_at_once(task: Task) -> Execution:
    return Execution(2 * len(task.images), False, Place.MEMORY)


def autograd_finetune(backbone: Backbone, task: Task, plan: UpdatePlan, settings: TrainingSettings) -> Backbone:
    """The same loop as plainly as PyTorch allows: frozen flags, whole tensors, a mask on the gradients."""
    weights = [w.clone().requires_grad_(i in plan.updates) for i, w in enumerate(backbone.weights)]
    biases = [b.clone().requires_grad_(i in plan.updates) for i, b in enumerate(backbone.biases)]
    live = Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)
    optimised = [t for t in (*weights, *biases) if t.requires_grad]
    optimiser = {
        "adam": lambda: torch.optim.Adam(optimised, settings.learning_rate),
        "momentum": lambda: torch.optim.SGD(optimised, settings.learning_rate, momentum=0.9),
        "sgd": lambda: torch.optim.SGD(optimised, settings.learning_rate),
    }[settings.optimiser]()
    n, resolution = len(task.images), backbone.spec.resolution
    views = Views.drawn(min(settings.views, settings.steps), n, resolution, settings.augmentation, torch_generator(3))
    for number in range(settings.steps):
        view = views.of_step(number).view
        clean = scale_pixels(task.images, weights[0].dtype)
        augmented = clean.clone() if view is None else view.apply(clean.clone(), 0)
        support, query = (live.embed(images.requires_grad_()) for images in (clean, augmented))
        loss = prototype_loss(support, task.labels, query, task.labels, task.ways, live.head_scale)
        optimiser.zero_grad()
        loss.backward()
        for i, chosen in ((i, u.outputs) for i, u in plan.updates.items()):
            for tensor in (weights[i], biases[i]):
                keep = torch.zeros(len(tensor), dtype=torch.bool).index_fill_(0, torch.tensor(chosen), True)
                assert tensor.grad is not None
                tensor.grad[~keep] = 0
        optimiser.step()
    return Backbone(backbone.spec, tuple(w.detach() for w in weights), tuple(b.detach() for b in biases))


def largest_difference(a: Backbone, b: Backbone) -> float:
    pairs = zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs)


@pytest.mark.parametrize("views", [0, 3])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_training_equals_plain_autograd_in_double(small: Backbone, views: int, optimiser: str) -> None:
    backbone, task = small.to(torch.float64), some_task(32)
    plan = mixed_plan(small)
    settings = TrainingSettings(steps=40, optimiser=optimiser, views=views, precision="full")
    expected = autograd_finetune(backbone, task, plan, settings)
    found = adapted(backbone, task, plan, settings, all_at_once(task))
    assert largest_difference(found, expected) < 1e-10
    assert largest_difference(expected, backbone) > 1e-4


@pytest.mark.parametrize("views", [0, 3])
def test_every_execution_takes_the_same_step(small: Backbone, views: int) -> None:
    backbone, task = small.to(torch.float64), some_task(32)
    settings = TrainingSettings(steps=4, views=views, precision="full")
    whole, *others = [
        trained(backbone, task, mixed_plan(small), settings, execution) for execution in executions(12, storage=True)
    ]
    assert len(others) == 12
    for other in others:
        assert other.losses == pytest.approx(whole.losses, abs=1e-12)
        assert other.delta is not None
        assert whole.delta is not None
        assert largest_difference(other.delta.apply(backbone), whole.delta.apply(backbone)) < 1e-12


def calibrated_backbone(spec: BackboneSpec, task: Task) -> Backbone:
    """A random backbone whose normalisation fits the task's images, so that it tells them apart."""
    network = random_network(spec).train()
    for layer in network.layers:
        layer.norm.momentum = 1.0
    with torch.no_grad():
        network(scale_pixels(task.images))
    return fold(network.eval())


@pytest.mark.parametrize("name", backbone_names())
def test_one_step_equals_plain_autograd_in_single(name: str) -> None:
    task = some_task(128, 6)
    spec = load_spec(name)
    backbone = calibrated_backbone(spec, task)
    chosen = spec.convs[spec.window_start(3) :]
    plan = UpdatePlan(spec, whole({c.index: tuple(range(0, c.out_channels, 4)) for c in chosen}))
    trial = TrainingSettings(steps=1, learning_rate=1.0, optimiser="sgd", precision="full")
    change = largest_difference(autograd_finetune(backbone, task, plan, trial), backbone)
    settings = replace(trial, learning_rate=0.003 / change)
    expected = autograd_finetune(backbone, task, plan, settings)
    assert largest_difference(expected, backbone) == pytest.approx(0.003, rel=0.01)
    for execution in (all_at_once(task), Execution(1, True, Place.NOWHERE)):
        found = adapted(backbone, task, plan, settings, execution)
        assert largest_difference(found, expected) < 1e-5


def test_only_chosen_channels_change(small: Backbone) -> None:
    plan = mixed_plan(small)
    delta = trained(small, some_task(32), plan, TrainingSettings(steps=2), all_at_once(some_task(32))).delta
    assert delta is not None
    adapted = delta.apply(small)
    for conv in small.spec.convs:
        changed = (adapted.weights[conv.index] != small.weights[conv.index]).flatten(1).any(1).nonzero().flatten()
        assert set(changed.tolist()) <= set(plan.updates[conv.index].outputs if conv.index in plan.updates else ())
    assert set(delta.rows) == set(plan.updates)


@pytest.mark.parametrize("lean", [False, True])
def test_training_leaves_the_given_backbone_alone(small: Backbone, lean: bool) -> None:
    before = [w.clone() for w in small.weights]
    trained(small, some_task(32), mixed_plan(small), TrainingSettings(steps=2), Execution(12, lean, Place.MEMORY))
    assert all(torch.equal(a, b) for a, b in zip(before, small.weights, strict=True))


@pytest.mark.parametrize("lean", [False, True])
def test_a_step_that_is_not_finite_is_not_taken(small: Backbone, lean: bool) -> None:
    """A learning rate beyond reason: the first step is good, what it leaves is not."""
    settings = TrainingSettings(steps=9, learning_rate=1e38, views=1, precision="full")
    training = trained(small, some_task(32), mixed_plan(small), settings, Execution(12, lean, Place.MEMORY))
    assert training.delta is None
    assert 1 <= len(training.losses) < 9
    assert all(math.isfinite(loss) for loss in training.losses)


def test_a_backbone_that_is_not_finite_takes_no_step(small: Backbone) -> None:
    weights = (*small.weights[:-1], torch.full_like(small.weights[-1], float("nan")))
    broken = Backbone(small.spec, weights, small.biases)
    training = trained(broken, some_task(32), mixed_plan(small), TrainingSettings(steps=2), all_at_once(some_task(32)))
    assert training.delta is None
    assert training.losses == []


def test_a_plan_of_another_backbone_is_refused(small: Backbone) -> None:
    plan = UpdatePlan(load_spec("mcunet-5fps"), whole({14: (0, 1)}))
    with pytest.raises(BackboneError, match="mcunet-5fps cannot be trained on small"):
        trained(small, some_task(32), plan, ONE_STEP, all_at_once(some_task(32)))


@pytest.mark.parametrize("channels", [{}, {99: (0,)}, {-1: (0,)}, {2: ()}, {2: (0, 0)}, {2: (0, 999)}, {2: (-1,)}])
def test_a_plan_of_what_is_not_there_is_refused(small: Backbone, channels: dict[int, tuple[int, ...]]) -> None:
    with pytest.raises(BackboneError, match="a plan of"):
        trained(small, some_task(32), UpdatePlan(small.spec, whole(channels)), ONE_STEP, all_at_once(some_task(32)))


EVERYTHING = set(range(16))


@pytest.mark.parametrize("layers", [EVERYTHING, {0}, {1}, {2}, {0, 15}, {15}, {4}], ids=str)
def test_any_layers_train_alike_in_every_execution(small: Backbone, layers: set[int]) -> None:
    """From the stem to the last convolution, with one image of each class."""
    backbone, task = small.to(torch.float64), some_task(32, WAYS)
    settings = TrainingSettings(steps=3, views=2, precision="full")
    plan = prescribed(small.spec, layers)
    expected = autograd_finetune(backbone, task, plan, settings)
    for execution in executions(2 * WAYS, storage=True):
        delta = trained(backbone, task, plan, settings, execution).delta
        assert delta is not None
        assert largest_difference(delta.apply(backbone), expected) < 1e-11


def test_forty_steps_in_single_end_with_the_same_accuracy(small: Backbone) -> None:
    task, settings = some_task(32, 30), TrainingSettings(precision="full")
    expected = autograd_finetune(small, task, mixed_plan(small), settings)
    with torch.no_grad():
        pixels = scale_pixels(some_task(32, 60).images)
        labels = torch.arange(60) % WAYS
        shares = []
        for backbone in (expected, adapted(small, task, mixed_plan(small), settings, all_at_once(task))):
            embeddings = backbone.embed(pixels)
            shares.append(accuracy(embeddings[:30], task.labels, embeddings[30:], labels[30:], WAYS))
    assert shares[0] == pytest.approx(shares[1], abs=0.04)


def test_live_bytes_counts_births_deaths_and_views() -> None:
    outside = torch.zeros(1000)
    with LiveBytes() as live:
        outside.add_(1)
        first = outside[:10] + 1  # 40 B; the slice is a view of what was there
        second = torch.zeros(100)  # 400 B
        view = second[10:20]
        del second
        assert live.now == 440
        del view
        assert live.now == 40
        del first
    assert live.now == 0
    assert live.peak == 440


def test_delta_round_trip_and_damage(small: Backbone) -> None:
    delta = trained(small, some_task(32), mixed_plan(small), ONE_STEP, all_at_once(some_task(32))).delta
    assert delta is not None
    data = delta.to_bytes()
    again = Delta.from_bytes(data, small.spec)
    assert largest_difference(again.apply(small), delta.apply(small)) == 0
    with pytest.raises(BackboneError, match="cannot be read"):
        Delta.from_bytes(data[:-5], small.spec)
    with pytest.raises(BackboneError):
        Delta.from_bytes(data, load_spec("mcunet-5fps"))
    with pytest.raises(BackboneError, match="cannot be applied"):
        delta.apply(random_backbone(load_spec("mcunet-5fps")))
