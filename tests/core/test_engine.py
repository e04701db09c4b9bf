"""The engine computes what plain autograd does, touches what the plan names, and needs what the ledger says."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.conftest import random_backbone
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import backbone_names, load_spec
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.finetune import finetune
from tinytrain_core.engine.memory import LiveBytes
from tinytrain_core.engine.ops import conv_forward, input_gradient, needed_input, parameter_gradients, relu6_mask
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.errors import BackboneError, TrainingDivergedError
from tinytrain_core.fewshot.augment import draw_view, scale_pixels
from tinytrain_core.fewshot.prototypes import prototype_loss
from tinytrain_core.seeds import torch_generator
from tinytrain_core.selection.fisher import Task, fisher_potential
from tinytrain_core.selection.live_memory import Workload, fast_step_bytes, selection_bytes, stream_step_bytes
from tinytrain_core.selection.plan import UpdatePlan

WAYS = 3


def some_task(resolution: int, n: int = 6) -> Task:
    images = torch.randint(0, 256, (n, 3, resolution, resolution), dtype=torch.uint8, generator=torch_generator(5))
    return Task(images, torch.arange(n) % WAYS, WAYS)


def mixed_plan(backbone: Backbone) -> UpdatePlan:
    """Every second channel of a depthwise, both kinds of pointwise, and the last convolution."""
    spec = backbone.spec
    chosen = [*[c for c in spec.convs if c.block in (2, 3, 4)][1:], spec.convs[-1]]
    return UpdatePlan(spec, {c.index: tuple(range(0, c.out_channels, 2)) for c in chosen})


@pytest.mark.parametrize("conv_index", range(16))
def test_operator_gradients_equal_autograd(small: Backbone, conv_index: int) -> None:
    conv = small.spec.convs[conv_index]
    weight, bias = small.weights[conv_index].double(), small.biases[conv_index].double()
    x = torch.randn(2, conv.in_channels, conv.in_size, conv.in_size, dtype=torch.float64, requires_grad=True)
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    out = functional.conv2d(x, w, b, conv.stride, conv.padding, 1, conv.groups)
    out = functional.relu6(out) if conv.relu6 else out
    upstream = torch.randn_like(out)
    expected = torch.autograd.grad(out, (x, w, b), upstream)

    with torch.no_grad():
        ours = conv_forward(x, weight, bias, conv)
        gradient = upstream * relu6_mask(ours) if conv.relu6 else upstream
        channels = torch.arange(1, conv.out_channels, 2)
        by_weight, by_bias = parameter_gradients(gradient, needed_input(x, conv, channels), weight, conv, channels)
        assert torch.allclose(ours, out, atol=1e-12, rtol=0)
        assert torch.allclose(input_gradient(gradient, weight, conv), expected[0], atol=1e-12, rtol=0)
        assert torch.allclose(by_weight, expected[1][channels], atol=1e-11, rtol=0)
        assert torch.allclose(by_bias, expected[2][channels], atol=1e-11, rtol=0)


def autograd_finetune(
    backbone: Backbone, task: Task, plan: UpdatePlan, settings: TrainingSettings, seed: int
) -> Backbone:
    """The same loop as plainly as PyTorch allows: frozen flags, whole tensors, a mask on the gradients."""
    weights = [w.clone().requires_grad_(i in plan.channels) for i, w in enumerate(backbone.weights)]
    biases = [b.clone().requires_grad_(i in plan.channels) for i, b in enumerate(backbone.biases)]
    live = Backbone(backbone.spec, tuple(weights), tuple(biases), backbone.head_scale)
    trained = [t for t in (*weights, *biases) if t.requires_grad]
    optimiser = torch.optim.Adam(trained, settings.learning_rate)
    generator = torch_generator(seed)
    for _ in range(settings.steps):
        view = draw_view(len(task.images), backbone.spec.resolution, settings.augmentation, generator)
        clean = scale_pixels(task.images, weights[0].dtype)
        augmented = clean.clone() if view is None else view.apply(clean.clone(), 0)
        support, query = (live.embed(images.requires_grad_()) for images in (clean, augmented))
        loss = prototype_loss(support, task.labels, query, task.labels, task.ways, live.head_scale)
        optimiser.zero_grad()
        loss.backward()
        for i, chosen in plan.channels.items():
            for tensor in (weights[i], biases[i]):
                keep = torch.zeros(len(tensor), dtype=torch.bool).index_fill_(0, torch.tensor(chosen), True)
                assert tensor.grad is not None
                tensor.grad[~keep] = 0
        optimiser.step()
    return Backbone(backbone.spec, tuple(w.detach() for w in weights), tuple(b.detach() for b in biases))


def largest_difference(a: Backbone, b: Backbone) -> float:
    pairs = zip((*a.weights, *a.biases), (*b.weights, *b.biases), strict=True)
    return max(float((x - y).abs().max()) for x, y in pairs)


@pytest.mark.parametrize("alive", [12, 5, 1])
def test_training_equals_plain_autograd_in_double(small: Backbone, alive: int) -> None:
    backbone, task = small.to(torch.float64), some_task(32)
    plan, settings = mixed_plan(small), TrainingSettings(steps=8)
    training = finetune(backbone, task, plan, settings, alive, seed=3)
    expected = autograd_finetune(backbone, task, plan, settings, seed=3)
    assert largest_difference(training.delta.apply(backbone), expected) < 1e-10
    assert largest_difference(expected, backbone) > 1e-4


@pytest.mark.parametrize("name", backbone_names())
def test_one_step_equals_plain_autograd_in_single(name: str) -> None:
    backbone, task = random_backbone(load_spec(name)), some_task(128, 6)
    spec = backbone.spec
    chosen = spec.convs[spec.window_start(3) :]
    plan = UpdatePlan(spec, {c.index: tuple(range(0, c.out_channels, 4)) for c in chosen})
    settings = TrainingSettings(steps=1, learning_rate=1e-4, optimiser="adam")
    training = finetune(backbone, task, plan, settings, 1, seed=3)
    expected = autograd_finetune(backbone, task, plan, settings, seed=3)
    # Adam's first step is the gradient's sign: where a gradient is rounding noise, the sign may differ.
    weights = zip((*training.delta.apply(backbone).weights,), expected.weights, strict=True)
    differing = sum(int(((a - b).abs() > 1e-6).sum()) for a, b in weights)
    assert differing <= 0.001 * sum(len(c) * spec.convs[i].weights_per_channel for i, c in plan.channels.items())


def test_only_chosen_channels_change(small: Backbone) -> None:
    plan = mixed_plan(small)
    delta = finetune(small, some_task(32), plan, TrainingSettings(steps=2), 12, seed=0).delta
    adapted = delta.apply(small)
    for conv in small.spec.convs:
        changed = (adapted.weights[conv.index] != small.weights[conv.index]).flatten(1).any(1).nonzero().flatten()
        assert set(changed.tolist()) <= set(plan.channels.get(conv.index, ()))
    assert set(delta.channels) == set(plan.channels)


def test_training_leaves_the_given_backbone_alone(small: Backbone) -> None:
    before = [w.clone() for w in small.weights]
    finetune(small, some_task(32), mixed_plan(small), TrainingSettings(steps=2), 12, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(before, small.weights, strict=True))


def test_divergence_is_an_error(small: Backbone) -> None:
    weights = (*small.weights[:-1], torch.full_like(small.weights[-1], float("inf")))
    broken = Backbone(small.spec, weights, small.biases)
    with pytest.raises(TrainingDivergedError, match="loss of step 1"):
        finetune(broken, some_task(32), mixed_plan(small), TrainingSettings(steps=2), 12, seed=0)


@pytest.mark.parametrize("optimiser", ["adam", "momentum", "sgd"])
@pytest.mark.parametrize("alive", [12, 4, 1])
@pytest.mark.parametrize("name", backbone_names())
def test_the_ledger_predicts_what_is_measured(name: str, alive: int, optimiser: str) -> None:
    backbone, task = random_backbone(load_spec(name)), some_task(128)
    spec = backbone.spec
    chosen = [c for c in spec.convs[spec.window_start(4) :] if c.index % 3]
    plan = UpdatePlan(spec, {c.index: tuple(range(c.out_channels // 3)) for c in chosen})
    copies = {"adam": 2, "momentum": 1, "sgd": 0}[optimiser]
    work = Workload(spec, len(task.images), WAYS, copies)
    predicted = fast_step_bytes(work, plan.counts) if alive == 12 else stream_step_bytes(work, plan.counts, alive)
    settings = TrainingSettings(steps=3, optimiser=optimiser)
    measured = finetune(backbone, task, plan, settings, alive, seed=1).measured_bytes
    assert measured <= predicted * 1.001
    assert measured >= predicted * 0.98


@pytest.mark.parametrize("name", backbone_names())
def test_the_ledger_predicts_the_selection_pass(name: str) -> None:
    backbone, task = random_backbone(load_spec(name)), some_task(128)
    start = backbone.spec.window_start(6)
    with LiveBytes() as live:
        fisher_potential(backbone, task, start)
    predicted = selection_bytes(Workload(backbone.spec, len(task.images), WAYS), start)
    assert predicted * 0.98 <= live.peak <= predicted * 1.001


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


def potential_by_hooks(backbone: Backbone, task: Task) -> dict[int, Tensor]:
    """The potential by autograd over all layers at once, from its definition."""
    outputs: dict[int, Tensor] = {}
    x = skip = scale_pixels(task.images, backbone.weights[0].dtype).requires_grad_()
    for conv in backbone.spec.convs:
        skip = x if conv.opens_residual else skip
        w, b = backbone.weights[conv.index], backbone.biases[conv.index]
        outputs[conv.index] = x = functional.conv2d(x, w, b, conv.stride, conv.padding, 1, conv.groups)
        x = functional.relu6(x) if conv.relu6 else x
        x = x + skip if conv.closes_residual else x
    embeddings = x.mean((2, 3))
    loss = prototype_loss(embeddings, task.labels, embeddings, task.labels, task.ways, backbone.head_scale)
    gradients = torch.autograd.grad(loss, list(outputs.values()))
    n = len(task.images)
    return {
        i: (a * g).sum((2, 3)).square().sum(0).detach() / (2 * n)
        for (i, a), g in zip(outputs.items(), gradients, strict=True)
    }


def test_fisher_potential_equals_its_definition(small: Backbone) -> None:
    backbone, task = small.to(torch.float64), some_task(32)
    expected = potential_by_hooks(backbone, task)
    start = small.spec.window_start(4)
    found = fisher_potential(backbone, task, start)
    assert sorted(found.channels) == list(range(start, len(small.spec.convs)))
    saturated = 0
    for index, delta in found.channels.items():
        assert torch.allclose(delta, expected[index], rtol=1e-9, atol=1e-15)
        saturated += int((delta == 0).sum())
    assert float(found.channels[start].sum()) > 0


def test_delta_round_trip_and_damage(small: Backbone) -> None:
    delta = finetune(small, some_task(32), mixed_plan(small), TrainingSettings(steps=1), 12, seed=0).delta
    data = delta.to_bytes()
    again = Delta.from_bytes(data, small.spec)
    assert largest_difference(again.apply(small), delta.apply(small)) == 0
    with pytest.raises(BackboneError, match="cannot be read"):
        Delta.from_bytes(data[:-5], small.spec)
    with pytest.raises(BackboneError):
        Delta.from_bytes(data, load_spec("mcunet-5fps"))
    with pytest.raises(BackboneError, match="cannot be applied"):
        delta.apply(random_backbone(load_spec("mcunet-5fps")))
