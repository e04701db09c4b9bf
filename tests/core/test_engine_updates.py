"""Updates other than whole output channels: some input channels, biases only, lite residuals, unlabelled images.

Each is held against plain autograd in double precision, in every way to execute it.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.conftest import random_backbone
from tests.core.test_engine import WAYS, some_task, trained
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.engine.adapters import TapedBranch, branch, initial, lite_shape
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.evaluate import judge
from tinytrain_core.engine.execution import executions
from tinytrain_core.engine.settings import TrainingSettings
from tinytrain_core.engine.support import Task, Views
from tinytrain_core.engine.update import Update
from tinytrain_core.errors import BackboneError
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.fewshot.prototypes import class_means, cosine_logits
from tinytrain_core.seeds import torch_generator
from tinytrain_core.selection.methods.tinytl import adapted_blocks, with_branches
from tinytrain_core.selection.plan import UpdatePlan, as_prescribed

SETTINGS = TrainingSettings(steps=4, views=2, precision="full")


def partial(backbone: Backbone) -> UpdatePlan:
    """Biases of the second half; of a first, a second pointwise and the last convolution some input channels."""
    convs = backbone.spec.convs
    updates = {c.index: Update(tuple(range(c.out_channels)), ()) for c in convs[8:]}
    for index in (9, 11, 15):
        updates[index] = Update(tuple(range(convs[index].out_channels)), tuple(range(1, convs[index].in_channels, 3)))
    updates[10] = Update((0, 5, 7))
    updates[12] = Update((0, 3), (2, 4, 5))
    return as_prescribed(backbone.spec, updates)


def lite(backbone: Backbone) -> UpdatePlan:
    return with_branches(backbone.spec, adapted_blocks(backbone.spec), 0)


def lite_and_weights(backbone: Backbone) -> UpdatePlan:
    """A branch beside the last block but one, whose own weights are partly updated."""
    convs = backbone.spec.convs
    block = convs[11].block
    return as_prescribed(backbone.spec, {11: Update((0, 2)), 12: Update((0, 1), (3,))}, (block, block + 1))


def detached(backbone: Backbone) -> UpdatePlan:
    return replace(partial(backbone), detached=True)


PLANS = {"partial": partial, "lite": lite, "lite and weights": lite_and_weights, "detached": detached}


class Reference:
    """The same training as plainly as autograd allows."""

    def __init__(self, backbone: Backbone, plan: UpdatePlan) -> None:
        self.plan = plan
        self.live = Backbone(
            backbone.spec,
            tuple(w.clone().requires_grad_(i in plan.updates) for i, w in enumerate(backbone.weights)),
            tuple(b.clone().requires_grad_(i in plan.updates) for i, b in enumerate(backbone.biases)),
            backbone.head_scale,
        )
        like = backbone.weights[0]
        self.branches = {
            block: [value.to(like).requires_grad_() for value in initial(lite_shape(backbone.spec, block))]
            for block in plan.adapters
        }

    def parameters(self) -> list[Tensor]:
        tensors = (*self.live.weights, *self.live.biases, *(v for each in self.branches.values() for v in each))
        return [tensor for tensor in tensors if tensor.requires_grad]

    def embed(self, x: Tensor) -> Tensor:
        skip = entered = x
        for conv in self.live.spec.convs:
            if conv.opens_block:
                skip = entered = x
            weight, bias = self.live.weights[conv.index], self.live.biases[conv.index]
            x = functional.conv2d(x, weight, bias, conv.stride, conv.padding, 1, conv.groups)
            x = functional.relu6(x) if conv.relu6 else x
            x = x + skip if conv.closes_residual else x
            if conv.closes_block and conv.block in self.branches:
                x = x + branch(entered, self.branches[conv.block], lite_shape(self.live.spec, conv.block))
        return x.mean((2, 3))

    def mask(self) -> None:
        for i, update in self.plan.updates.items():
            bias, weight = torch.zeros_like(self.live.biases[i]), torch.zeros_like(self.live.weights[i])
            rows = torch.tensor(update.outputs)
            bias[rows] = 1
            inputs = torch.arange(weight.shape[1]) if update.inputs is None else torch.tensor(update.inputs).long()
            weight[rows[:, None], inputs] = 1
            for tensor, keep in ((self.live.biases[i], bias), (self.live.weights[i], weight)):
                if tensor.grad is not None:
                    tensor.grad *= keep

    def train(self, task: Task, settings: TrainingSettings) -> list[float]:
        optimiser = torch.optim.Adam(self.parameters(), settings.learning_rate)
        resolution, losses = self.live.spec.resolution, []
        views = Views.drawn(settings.views, len(task.images), resolution, settings.augmentation, torch_generator(3))
        for number in range(settings.steps):
            view = views.of_step(number).view
            clean = scale_pixels(task.images, torch.float64)
            seen = clean.clone() if view is None else view.apply(clean.clone(), 0)
            prototypes = class_means(self.embed(clean), task.labels, task.ways)
            prototypes = prototypes.detach() if self.plan.detached else prototypes
            loss = functional.cross_entropy(cosine_logits(self.embed(seen), prototypes, 10.0), task.labels)
            if len(task.unlabelled):
                logits = cosine_logits(self.embed(scale_pixels(task.unlabelled, torch.float64)), prototypes, 10.0)
                loss = loss - (logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            self.mask()
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses


def embedded(backbone: Backbone, delta: Delta, images: Tensor) -> Tensor:
    reference = Reference(delta.apply(backbone), UpdatePlan(backbone.spec, {}))
    reference.branches = {block: list(values) for block, values in delta.branches.items()}
    with torch.no_grad():
        return reference.embed(scale_pixels(images, torch.float64))


@pytest.mark.parametrize("unlabelled", [0, 5])
@pytest.mark.parametrize("kind", PLANS)
def test_training_equals_plain_autograd_in_every_execution(small: Backbone, kind: str, unlabelled: int) -> None:
    backbone, plan = small.to(torch.float64), PLANS[kind](small)
    task = replace(some_task(32), unlabelled=some_task(32, unlabelled + 1).images[:unlabelled])
    reference = Reference(backbone, plan)
    losses = reference.train(task, SETTINGS)
    with torch.no_grad():
        expected = reference.embed(scale_pixels(task.images, torch.float64))
    for execution in executions(12 + unlabelled, storage=True):
        training = trained(backbone, task, plan, SETTINGS, execution)
        assert training.losses == pytest.approx(losses, abs=1e-10)
        assert training.delta is not None
        assert float((embedded(backbone, training.delta, task.images) - expected).abs().max()) < 1e-9
        found = training.delta.apply(backbone)
        for one, other in zip(
            (*found.weights, *found.biases), (*reference.live.weights, *reference.live.biases), strict=True
        ):
            assert float((one - other.detach()).abs().max()) < 1e-10
    untrained = Reference(backbone, UpdatePlan(small.spec, {})).embed(scale_pixels(task.images, torch.float64))
    assert float((untrained - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", PLANS)
def test_a_delta_survives_its_file_and_its_damage(small: Backbone, kind: str) -> None:
    plan, double = PLANS[kind](small), small.to(torch.float64)
    delta = trained(double, some_task(32), plan, SETTINGS, next(executions(12, storage=False))).delta
    assert delta is not None
    data = delta.to_bytes()
    again = Delta.from_bytes(data, small.spec)
    images = some_task(32).images
    assert torch.equal(embedded(double, again, images), embedded(double, delta, images))
    assert Delta.from_bytes(again.to_bytes(), small.spec).to_bytes() == data
    with pytest.raises(BackboneError):
        Delta.from_bytes(data, load_spec("mcunet-5fps"))


@pytest.mark.parametrize("kind", PLANS)
def test_judging_sees_the_whole_delta(small: Backbone, kind: str) -> None:
    backbone, task = small.to(torch.float64), some_task(32)
    query, labels = some_task(32, 30).images, torch.arange(30) % WAYS
    ways = list(executions(6, storage=False))
    delta = trained(backbone, task, PLANS[kind](small), SETTINGS, ways[0]).delta
    assert delta is not None
    prototypes = class_means(embedded(backbone, delta, task.images), task.labels, WAYS)
    right = cosine_logits(embedded(backbone, delta, query), prototypes, 1.0).argmax(1) == labels
    episode = Episode(task.images, task.labels, query, labels, WAYS)
    for execution in ways:
        assert judge(backbone, episode, delta, execution).after == pytest.approx(float(right.double().mean()))


def test_a_branch_adds_nothing_at_first_and_each_image_is_alone() -> None:
    shape = lite_shape(load_spec("mcunet-5fps"), 5)
    x = torch.randn(4, shape.in_channels, shape.in_size, shape.in_size, dtype=torch.float64)
    values = [value.double() for value in initial(shape)]
    assert not branch(x, values, shape).any()
    values[4].fill_(1.0)
    assert torch.allclose(branch(x, values, shape)[1:2], branch(x[1:2], values, shape))
    taped = TapedBranch.forward(x, values, shape)
    assert [g.shape for g in taped.backward(torch.ones_like(taped.output))] == [x.shape, *(v.shape for v in values)]


# TinyTL's lite modules: weights, and M MACs of their forward pass.
@pytest.mark.parametrize(
    ("name", "weights", "macs"),
    [("mcunet-5fps", 129_760, 2.92), ("mbv2-w0.35", 60_928, 1.48), ("proxyless-w0.3", 84_832, 2.67)],
)
def test_lite_residuals_have_the_size_of_the_paper(name: str, weights: int, macs: float) -> None:
    spec = load_spec(name)
    shapes = [lite_shape(spec, block) for block in adapted_blocks(spec)]
    assert sum(shape.weights for shape in shapes) == weights
    assert sum(shape.macs for shape in shapes) / 1e6 == pytest.approx(macs, abs=0.005)
    assert all(sum(value.numel() for value in initial(shape)) == shape.parameters for shape in shapes)


def test_a_branch_before_the_first_update_is_refused() -> None:
    backbone = random_backbone(load_spec("mcunet-5fps"))
    plan = as_prescribed(backbone.spec, {40: Update((0,))}, (3,))
    with pytest.raises(BackboneError, match="branches beside blocks"):
        trained(backbone, some_task(128), plan, SETTINGS, next(executions(12, storage=False)))
