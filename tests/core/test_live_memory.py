"""The ledger predicts what the engine has alive, on the real backbones, in every way to execute it."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import random_backbone
from tests.core.test_engine import WAYS, some_task
from tinytrain_core.backbones.spec import BackboneSpec, backbone_names, load_spec
from tinytrain_core.engine.evaluate import judge
from tinytrain_core.engine.execution import Execution, executions
from tinytrain_core.engine.features import PRECISIONS, Place, Shelf, kept_bytes
from tinytrain_core.engine.finetune import finetune
from tinytrain_core.engine.memory import LiveBytes
from tinytrain_core.engine.settings import OPTIMISERS, TrainingSettings
from tinytrain_core.engine.support import CleanFeatures
from tinytrain_core.engine.update import whole
from tinytrain_core.fewshot.augment import Augmentation
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.personalise import personalise
from tinytrain_core.selection.cost import Budget, full_train_backward_macs
from tinytrain_core.selection.fisher import fisher_potential
from tinytrain_core.selection.live_memory import judging_bytes, selection_bytes, training_bytes
from tinytrain_core.selection.methods.sparse_update import planned, published_scheme
from tinytrain_core.selection.methods.tinytl import adapted_blocks, with_branches
from tinytrain_core.selection.plan import Inspection, UpdatePlan
from tinytrain_core.selection.workload import Workload

ALWAYS = Augmentation(probability=1.0)
SUPPORT = 6
TRAININGS = [e for e in executions(2 * SUPPORT, storage=True) if e.alive in (12, 4, 1)]
SELECTIONS = [e for e in executions(SUPPORT, storage=True) if e.alive in (6, 2, 1)]


def agrees(measured: int, predicted: int) -> bool:
    return 0.98 * predicted <= measured <= 1.001 * predicted


def some_plan(spec: BackboneSpec, blocks: int) -> UpdatePlan:
    """A third of the channels of two in three convolutions of the last blocks."""
    chosen = [c for c in spec.convs[spec.window_start(blocks) :] if c.index % 3]
    return UpdatePlan(spec, whole({c.index: tuple(range(c.out_channels // 3)) for c in chosen}))


@pytest.mark.parametrize("execution", TRAININGS, ids=str)
@pytest.mark.parametrize("name", backbone_names())
def test_training(name: str, execution: Execution) -> None:
    backbone, task = random_backbone(load_spec(name)), some_task(128, SUPPORT)
    spec, number = backbone.spec, execution.alive + len(execution.place.value)
    for optimiser, blocks, precision, views in (
        ("adam", 2, "full", 2),
        ("momentum", 4, "half", 0),
        ("sgd", 7, "byte", 2),
        ("adam", 4, "byte", 0),
    )[number % 2 :: 2]:
        plan = some_plan(spec, blocks)
        work = Workload(spec, SUPPORT, WAYS, OPTIMISERS[optimiser].copies, views, precision)
        settings = TrainingSettings(2, 1e-3, optimiser, ALWAYS, views, precision)
        clean = CleanFeatures(backbone, task, Shelf(precision))
        measured = finetune(backbone, task, plan, settings, execution, 1, clean).measured_bytes
        assert agrees(measured, training_bytes(work, plan.extent, execution))


@pytest.mark.parametrize("unlabelled", [0, 5])
@pytest.mark.parametrize("kind", ["scheme", "lite", "last lite", "detached"])
@pytest.mark.parametrize("name", backbone_names())
def test_training_of_biases_inputs_and_branches(name: str, kind: str, unlabelled: int) -> None:
    backbone = random_backbone(load_spec(name))
    spec, blocks = backbone.spec, adapted_blocks(backbone.spec)
    first = next(c.index for c in spec.convs if c.block == blocks[-5])
    plan = {
        "scheme": planned(backbone, published_scheme(name)),
        "lite": with_branches(spec, blocks, 0),
        "last lite": with_branches(spec, blocks[-5:], first),
        "detached": replace(some_plan(spec, 4), detached=True),
    }[kind]
    task = replace(some_task(128, SUPPORT), unlabelled=some_task(128, unlabelled + 1).images[:unlabelled])
    work = Workload(spec, SUPPORT, WAYS, 2, 2, "half", unlabelled, plan.detached)
    settings = TrainingSettings(2, 1e-3, "adam", ALWAYS, 2, "half")
    ways = Execution(12 + unlabelled, False, Place.MEMORY), Execution(1, True, Place.FILE)
    for execution in ways:
        clean = CleanFeatures(backbone, task, Shelf("half"))
        measured = finetune(backbone, task, plan, settings, execution, 1, clean).measured_bytes
        assert 0.96 <= measured / training_bytes(work, plan.extent, execution) <= 1.002


@pytest.mark.parametrize("execution", SELECTIONS, ids=str)
@pytest.mark.parametrize("name", backbone_names())
def test_selection_and_the_training_after_it(name: str, execution: Execution) -> None:
    backbone, task = random_backbone(load_spec(name)), some_task(128, SUPPORT)
    spec = backbone.spec
    start, plan = spec.window_start(6), some_plan(spec, 2)
    work = Workload(spec, SUPPORT, WAYS, 2, 2, "half")
    clean = CleanFeatures(backbone, task, Shelf("half"))
    fisher_potential(clean, task, start, execution)
    assert agrees(clean.live.peak, selection_bytes(work, start, execution))
    clean.live.peak = clean.live.now
    settings = TrainingSettings(2, 1e-3, "adam", ALWAYS, 2, "half")
    measured = finetune(backbone, task, plan, settings, execution, 1, clean).measured_bytes
    predicted = training_bytes(work, plan.extent, execution, Inspection(start, execution))
    assert agrees(measured, predicted)


@pytest.mark.parametrize("execution", [TRAININGS[0], TRAININGS[-1]], ids=str)
@pytest.mark.parametrize("name", backbone_names())
def test_judging(name: str, execution: Execution) -> None:
    backbone, task = random_backbone(load_spec(name)), some_task(128, SUPPORT)
    plan = some_plan(backbone.spec, 3)
    work = Workload(backbone.spec, SUPPORT, WAYS)
    clean = CleanFeatures(backbone, task, Shelf("half"))
    delta = finetune(backbone, task, plan, TrainingSettings(steps=1), execution, 1, clean).delta
    images = some_task(128, 2 * SUPPORT).images
    episode = Episode(task.images, task.labels, images, torch.arange(2 * SUPPORT) % WAYS, WAYS)
    assert delta is not None
    live = LiveBytes()
    judge(backbone, episode, delta, execution, live)
    assert agrees(live.peak + delta.nbytes, judging_bytes(work, plan.extent, execution))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_kept_bytes_are_those_of_the_tensors(precision: str) -> None:
    backbone = random_backbone(load_spec("mcunet-5fps"))
    conv = backbone.spec.convs[30]
    clean = CleanFeatures(backbone, some_task(128, 1), Shelf(precision))
    kept = clean.shelf_rows(conv.index, 5, Place.MEMORY)
    assert kept.at == conv.index
    assert clean.live.now == kept_bytes(5, conv.in_elements, precision)


@pytest.mark.parametrize("name", backbone_names())
def test_the_default_plan_of_a_device_with_1_mib(name: str) -> None:
    """Selection, training and judging under one watch, which knows nothing of the engine's own."""
    backbone, task = random_backbone(load_spec(name)), some_task(128, 9)
    episode = Episode(task.images, task.labels, task.images, task.labels, WAYS)
    macs = int(0.15 * full_train_backward_macs(backbone.spec))
    with LiveBytes() as live:
        report = personalise(
            backbone, episode, Budget(2**20, macs, 2**20), settings=TrainingSettings(3, augmentation=ALWAYS)
        ).report
    assert report.updated_weights > 20_000
    assert agrees(live.peak, report.live_memory_bytes)
    assert live.peak <= 2**20
    assert report.measured_memory_bytes == pytest.approx(live.peak, rel=0.005)
