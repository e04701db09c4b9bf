"""Potential, score, ledger and selection of a net of three layers, derived by hand.

The net: a stem of which only the centre tap of the first colour counts, a depthwise layer of which only the centre tap
does, and a pointwise one, of two channels each, on 4x4 images. Two classes of one image each, all black (-1) and all
white (+1). On its way

    stem       y = (0.25, 0.5 x + 0.5)         (0.25, 0)   (0.25, 1)
    depthwise  z = y + (0.25, 0)               (0.5, 0)    (0.5, 1)
    pointwise  e = z + (0.5, 0)                (1, 0)      (1, 1)

is the same in all positions. With c = cos(e1, e2) = 1 / sqrt 2 and p = sigmoid(-s (1 - c)) both images have the loss
log(1 + exp(-s (1 - c))), hence dL/dc = s p, and dL/de1 = s p (e2/|e2| - c e1/|e1|) / |e1|, and the other way round:

    dL/de1 = s p (0, 1 / sqrt 2)      dL/de2 = s p (1, -1) / (2 sqrt 2)

All weights on the way back are 1. Sums over positions of activation times gradient are those of image 1: 0 (where the
gradient is not, the activation is), of image 2: k (activation_0, -activation_1) with k = s p / (2 sqrt 2). So with
U = k^2 / (2 N) the potential is U (1, 1) for pointwise, U (1/4, 1) for depthwise, U (1/16, 1) for the stem.
"""

import math

import pytest
import torch

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.backbones.spec import spec_from_rows
from tinytrain_core.engine.execution import Execution
from tinytrain_core.engine.features import Place, Shelf
from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.engine.update import Extent, Share, Update
from tinytrain_core.selection import cost
from tinytrain_core.selection.cost import UNLIMITED, Budget
from tinytrain_core.selection.criterion import Score, rank, scores
from tinytrain_core.selection.fisher import Potential, fisher_potential
from tinytrain_core.selection.methods import Problem, method_by_name
from tinytrain_core.selection.plan import Reason
from tinytrain_core.selection.workload import Workload

ROWS = {"mid": 2, "kernel": 3, "stride": 1, "out": 2}
SPEC = spec_from_rows(
    {"name": "three", "title": "Three", "resolution": 4, "stem": 2, "blocks": [ROWS], "feature_mix": 0}
)
SCALE = 3.0
STEM, DEPTHWISE, POINTWISE = range(3)


def three_layers() -> Backbone:
    stem = torch.zeros(2, 3, 3, 3, dtype=torch.float64)
    stem[1, 0, 1, 1] = 0.5
    centre = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    centre[:, :, 1, 1] = 1
    biases = ([0.25, 0.5], [0.25, 0.0], [0.5, 0.0])
    weights = (stem, centre, torch.eye(2, dtype=torch.float64)[:, :, None, None])
    return Backbone(SPEC, weights, tuple(torch.tensor(b, dtype=torch.float64) for b in biases), SCALE)


def black_and_white() -> Task:
    images = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 255)]).to(torch.uint8)
    return Task(images, torch.arange(2), 2)


def problem(budget: Budget) -> Problem:
    task = black_and_white()
    return Problem(CleanFeatures(three_layers(), task, Shelf()), task, budget, Workload(SPEC, 2, 2))


def unit() -> float:
    """U."""
    p = 1 / (1 + math.exp(SCALE * (1 - 1 / math.sqrt(2))))
    return (SCALE * p) ** 2 / 8 / 4


@pytest.mark.parametrize("execution", [Execution(2, False, Place.MEMORY), Execution(1, True, Place.NOWHERE)], ids=str)
def test_potential(execution: Execution) -> None:
    task = black_and_white()
    found = fisher_potential(CleanFeatures(three_layers(), task, Shelf()), task, STEM, execution)
    expected = {STEM: [1 / 16, 1], DEPTHWISE: [1 / 4, 1], POINTWISE: [1, 1]}
    assert list(found.channels) == [STEM, DEPTHWISE, POINTWISE]
    for index, values in expected.items():
        assert (found.channels[index] / unit()).tolist() == pytest.approx(values, abs=1e-9)


def test_score() -> None:
    """Weights 54, 18, 4 and MACs 216, 72, 16 over those of the stem, which has the most of both."""
    potential = Potential(STEM, {STEM: torch.tensor([1 / 16, 1.0]), DEPTHWISE: torch.tensor([0.25, 1.0])})
    potential.channels[POINTWISE] = torch.tensor([1.0, 1.0])
    assert [(conv.weights, conv.macs) for conv in SPEC.convs] == [(54, 216), (18, 72), (4, 16)]
    found = scores(SPEC, potential)
    assert found == pytest.approx({STEM: 17 / 16, DEPTHWISE: 11.25, POINTWISE: 364.5})
    assert rank(found) == [POINTWISE, DEPTHWISE, STEM]
    assert scores(SPEC, potential, Score.NO_MACS) == pytest.approx({STEM: 17 / 16, DEPTHWISE: 3.75, POINTWISE: 27.0})
    assert scores(SPEC, potential, Score.POTENTIAL) == {STEM: 17 / 16, DEPTHWISE: 1.25, POINTWISE: 2.0}


def test_ledger() -> None:
    """One channel of each layer: the chain behind the stem is 72 + 16 MACs, its own share 108."""
    extent = Extent({STEM: Share(1, 3), DEPTHWISE: Share(1, 1), POINTWISE: Share(1, 2)})
    assert cost.updated_weights(SPEC, extent) == 27 + 9 + 2
    assert cost.updated_parameters(SPEC, extent) == 27 + 9 + 2 + 3
    assert cost.backward_macs(SPEC, extent) == (72 + 16) + 108 + 36 + 8
    assert cost.full_train_backward_macs(SPEC) == 2 * (216 + 72 + 16)
    assert cost.forward_peak_bytes(SPEC) == 4 * (3 * 16 + 2 * 4)
    assert cost.paper_memory_bytes(SPEC, extent) == 16 * 38 + 224
    some_inputs = Extent({DEPTHWISE: Share(2, 0), POINTWISE: Share(2, 1)})
    assert cost.updated_weights(SPEC, some_inputs) == 2
    assert cost.updated_parameters(SPEC, some_inputs) == 2 + 4
    assert cost.backward_macs(SPEC, some_inputs) == 16 + 8


def test_selection_by_compute() -> None:
    """Pointwise costs 8, depthwise 16 + 36 more; with the stem it would be 240. The better channel is the second."""
    plan = method_by_name("tinytrain:window_blocks=0").plan(problem(Budget(UNLIMITED, 60)))
    assert list(plan.updates) == [DEPTHWISE, POINTWISE]
    assert plan.updates[DEPTHWISE] == Update((1,))
    stem = plan.decisions[STEM]
    assert (stem.reason, stem.asked, stem.limit) == (Reason.OVER_COMPUTE, 240, 60)


def test_selection_by_memory_in_the_ledger_of_the_paper() -> None:
    """Two pointwise weights: 32 + 224 B; with nine depthwise ones 400."""
    plan = method_by_name("tinytrain:window_blocks=0").plan(problem(Budget(UNLIMITED, 10**9, 0, 399)))
    assert plan.extent == Extent({POINTWISE: Share(1, 2)})
    depthwise = plan.decisions[DEPTHWISE]
    assert (depthwise.reason, depthwise.asked, depthwise.limit) == (Reason.OVER_MEMORY, 400, 399)


def test_selection_without_limits_takes_half_of_everything() -> None:
    plan = method_by_name("tinytrain:window_blocks=0").plan(problem(Budget(UNLIMITED, 10**9)))
    assert plan.extent == Extent({STEM: Share(1, 3), DEPTHWISE: Share(1, 1), POINTWISE: Share(1, 2)})
    assert plan.updates[STEM] == plan.updates[DEPTHWISE] == Update((1,))


def test_prototypes_taken_as_constants_halve_the_way_back() -> None:
    """Half of the images go backwards: all three layers cost 120 on average."""
    budget = Budget(UNLIMITED, 120)
    attached, detached = (method_by_name(f"tinytrain:window_blocks=0,prototypes={p}") for p in ("attached", "detached"))
    assert list(attached.plan(problem(budget)).updates) == [DEPTHWISE, POINTWISE]
    assert list(detached.plan(problem(budget)).updates) == [STEM, DEPTHWISE, POINTWISE]
    assert Workload(SPEC, 2, 2, detached=True).backward_macs(detached.plan(problem(budget)).extent) == 120
