"""Which channels of a chosen layer: by potential, by weight norm or at random; and the task of a static choice."""

from dataclasses import replace
from enum import StrEnum
from functools import lru_cache

import torch

from tinytrain_core.engine.support import CleanFeatures, Task
from tinytrain_core.fewshot.episodes import Episode, load_episode, sample_fixed
from tinytrain_core.fewshot.sources import GLYPHS, open_source
from tinytrain_core.seeds import Draw, generator, torch_generator
from tinytrain_core.selection.criterion import best_channels, largest
from tinytrain_core.selection.fisher import Potential
from tinytrain_core.selection.methods.base import Problem

CALIBRATION_WAYS = 5
CALIBRATION_SHOTS = 5


class Ranking(StrEnum):
    """What the channels of a layer are ranked by."""

    FISHER = "fisher"
    L2 = "l2"
    RANDOM = "random"


def choose(
    ranking: Ranking, problem: Problem, potential: Potential, counts: dict[int, int]
) -> dict[int, tuple[int, ...]]:
    """So many channels of each convolution, ascending."""
    if ranking is Ranking.FISHER:
        return best_channels(potential, counts)
    if ranking is Ranking.L2:
        weights = problem.backbone.weights
        return {i: largest(weights[i].square().flatten(1).sum(1), n) for i, n in sorted(counts.items())}
    return {i: _any(problem, i, n) for i, n in sorted(counts.items())}


def _any(problem: Problem, index: int, n: int) -> tuple[int, ...]:
    of = problem.backbone.spec.convs[index].out_channels
    order = torch.randperm(of, generator=torch_generator(problem.seed, Draw.CHANNELS, index))
    return tuple(sorted(order[:n].tolist()))


@lru_cache(maxsize=2)
def _glyphs(resolution: int) -> Episode:
    """A task of embedded glyphs, always the same."""
    source = open_source(f"{GLYPHS}:validation")
    draws = sample_fixed(source, CALIBRATION_WAYS, CALIBRATION_SHOTS, 1, generator(0, Draw.CHANNELS))
    return load_episode(source, draws, resolution)


def calibration(problem: Problem) -> Problem:
    """The problem that a static choice looks at in place of a device's own."""
    episode = _glyphs(problem.work.spec.resolution)
    task = Task(episode.support, episode.support_labels.to(problem.task.labels.device), episode.ways)
    clean = CleanFeatures(problem.backbone, task, problem.clean.shelf)
    clean.live = problem.clean.live
    work = replace(problem.work, support=len(task.images), ways=task.ways)
    return replace(problem, clean=clean, task=task, work=work)
