"""The task of one simulated user among others who differ: how many images of a class, in which style, how labelled."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.deals import preference
from tinytrain_core.fewshot.episodes import Episode, load_episode, personal_episode, split_all
from tinytrain_core.fewshot.share import UserShare
from tinytrain_core.fewshot.style import draw_style
from tinytrain_core.seeds import Draw, generator

MAX_SHOTS = 500  # of one class


def _user_shots(share: UserShare, shots: int, rng: np.random.Generator) -> float:
    return shots * float(np.exp(share.sharing.shots_spread * rng.standard_normal()))


def wanted_shots(share: UserShare, shots: int) -> int:
    """The most support images of a class that a user has use for, preferences apart; `shots` is the fleet's."""
    rng = generator(share.seed, Draw.USER_SHOTS, share.number)
    return min(max(round(_user_shots(share, shots, rng)), 1), MAX_SHOTS)


def class_shots(share: UserShare, shots: int, ways: int) -> list[int]:
    """Support images of each of a user's classes, in their order, where a class of an even share has `shots`."""
    rng = generator(share.seed, Draw.USER_SHOTS, share.number)
    own = _user_shots(share, shots, rng)
    rank = rng.permutation(ways) + 1
    wanted = own * ways * preference(share, ways) * rank**-share.sharing.imbalance
    return [int(n) for n in np.clip(np.rint(wanted), 1, MAX_SHOTS)]


def mislabelled(labels: Tensor, ways: int, noise: float, rng: np.random.Generator) -> Tensor:
    """Labels (N,) with a share `noise` of them changed to another class, one of each class always left alone."""
    order = torch.from_numpy(rng.permutation(len(labels)))
    kept = {int(label): int(place) for place, label in zip(order, labels[order], strict=True)}
    free = [place for place in order.tolist() if place not in kept.values()]
    wrong = free[: round(noise * len(labels))]
    changed = labels.clone()
    changed[wrong] = (labels[wrong] + torch.from_numpy(rng.integers(1, ways, len(wrong)))) % ways
    return changed


def _with_wrong_labels(episode: Episode, share: UserShare) -> Episode:
    rng = generator(share.seed, Draw.WRONG_LABELS, share.number)
    labels = mislabelled(episode.support_labels, episode.ways, share.sharing.label_noise, rng)
    by_class = labels.argsort(stable=True)  # as every episode has them
    return replace(episode, support=episode.support[by_class], support_labels=labels[by_class])


def _in_style(episode: Episode, share: UserShare) -> Episode:
    rng = generator(share.seed, Draw.STYLE, share.number)
    style = draw_style(share.sharing.style, rng)
    return replace(episode, support=style.apply(episode.support, rng), query=style.apply(episode.query, rng))


def _split(
    source: ImageSource, share: UserShare, shots: int, holdout: int, resolution: int, rng: np.random.Generator
) -> Episode:
    wanted = class_shots(share, shots, len(source.classes))
    draws = split_all(source, max(wanted), holdout, rng)
    draws = [replace(draw, support=draw.support[: wanted[draw.class_index]]) for draw in draws]
    episode = load_episode(source, draws, resolution)
    return replace(episode, dropped_classes=len(source.classes) - episode.ways)


def user_episode(
    source: ImageSource, share: UserShare, shots: int, holdout: int, resolution: int, rng: np.random.Generator
) -> Episode:
    """A user's own task out of the images that are theirs, as `personal_episode`, with the differences of `share`.

    Raises:
        DataError: as `load_episode`.
    """
    sharing = share.sharing
    uneven = sharing.scheme == "dirichlet" or sharing.imbalance or sharing.shots_spread
    if uneven:
        episode = _split(source, share, shots, holdout, resolution, rng)
    else:
        episode = personal_episode(source, shots, holdout, resolution, rng)
    if sharing.style:
        episode = _in_style(episode, share)
    return _with_wrong_labels(episode, share) if sharing.label_noise else episode
