"""Accuracy on a device's own holdout, before and after, in one pass over the images.

What lies before the tail is the same for both, so it runs once for each image. Prototypes are summed up and queries
are classified as they come: nothing but the prototypes is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tinytrain_core.backbones.folding import Backbone
from tinytrain_core.engine.delta import Delta
from tinytrain_core.engine.execution import Execution, parts
from tinytrain_core.engine.layers import Differences, FrozenLayers
from tinytrain_core.engine.memory import LiveBytes, watched
from tinytrain_core.engine.prefix import ImagePrefix
from tinytrain_core.engine.tail import Tail
from tinytrain_core.fewshot.episodes import Episode
from tinytrain_core.fewshot.prototypes import cosine_logits

TOGETHER = 32  # images alive at once where memory is no matter


@dataclass(frozen=True)
class Holdout:
    """Nearest-prototype accuracy on the query images of an episode; `after` is None where there is no delta."""

    before: float
    after: float | None


def _layers(backbone: Backbone, delta: Delta, lean: bool) -> FrozenLayers:
    return Differences.holding(backbone, delta) if lean else FrozenLayers(delta.apply(backbone), delta.branches)


@torch.no_grad()
def judge(
    backbone: Backbone, episode: Episode, delta: Delta | None, execution: Execution, live: LiveBytes | None = None
) -> Holdout:
    """Accuracy of the backbone, and of the backbone with the delta.

    Args:
        live: watches it.
    """
    spec, lean = backbone.spec, execution.lean
    start = spec.block_start(min(delta.rows)) if delta and delta.rows else len(spec.convs)
    start = min(start, spec.block_start(len(spec.convs) - 1))
    with watched(live):
        layers = [FrozenLayers(backbone), *([] if delta is None else [_layers(backbone, delta, lean)])]
    tails = [Tail(each, start, start, lean=lean) for each in layers]
    alive = min(execution.alive, len(episode.support), TOGETHER)
    prototypes = _prototypes(backbone, episode, tails, start, alive, live)
    prefix, correct = ImagePrefix(backbone, episode.query, lean), [0] * len(tails)
    for first, last in parts(len(episode.query), alive):
        with watched(live if first == 0 else None):
            for i, embeddings in enumerate(_embeddings(prefix, tails, start, first, last)):
                found = cosine_logits(embeddings, prototypes[i], 1.0).argmax(1).cpu()
                correct[i] += int((found == episode.query_labels[first:last]).sum())
    shares = [count / len(episode.query) for count in correct]
    return Holdout(shares[0], shares[1] if delta is not None else None)


def _embeddings(prefix: ImagePrefix, tails: list[Tail], start: int, first: int, last: int) -> Iterator[Tensor]:
    """Embeddings (last - first, D) of images by each of the tails, which share what lies before."""
    features = prefix.features(start, first, last)
    return (tail.forward(features) for tail in tails)


def _prototypes(
    backbone: Backbone, episode: Episode, tails: list[Tail], start: int, alive: int, live: LiveBytes | None
) -> list[Tensor]:
    """The class means (ways, D) by each of the tails."""
    with watched(live):
        shares = functional.one_hot(episode.support_labels, episode.ways).to(backbone.weights[0])
        shares /= shares.sum(0)
        means = [shares.new_zeros(episode.ways, backbone.spec.feature_dim) for _ in tails]
    prefix = ImagePrefix(backbone, episode.support, tails[0].lean)
    for first, last in parts(len(episode.support), alive):
        with watched(live if first == 0 else None):
            for total, embeddings in zip(means, _embeddings(prefix, tails, start, first, last), strict=True):
                total.addmm_(shares[first:last].t(), embeddings)
    return means
