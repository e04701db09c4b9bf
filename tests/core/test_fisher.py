"""The Fisher potential is what its definition says, however it is executed."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.core.test_engine import some_task
from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.execution import Execution, executions
from tinytrain_core.engine.features import Shelf
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.fewshot.augment import scale_pixels
from tinytrain_core.fewshot.prototypes import prototype_loss
from tinytrain_core.selection.fisher import fisher_potential


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


@pytest.mark.parametrize("execution", list(executions(6, storage=True)))
def test_fisher_potential_equals_its_definition(small: Backbone, execution: Execution) -> None:
    backbone, task = small.to(torch.float64), some_task(32)
    expected = potential_by_hooks(backbone, task)
    start = small.spec.window_start(4)
    clean = CleanFeatures(backbone, task, Shelf("full"))
    found = fisher_potential(clean, task, start, execution)
    assert sorted(found.channels) == list(range(start, len(small.spec.convs)))
    for index, delta in found.channels.items():
        assert torch.allclose(delta, expected[index], rtol=1e-9, atol=1e-15)
    assert float(found.channels[start].sum()) > 0
