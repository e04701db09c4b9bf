"""The prototype head: cosine similarity to class means, times a scale (Snell et al. 2017; PMF, Hu et al. 2022).

It has no weights of its own, so that nothing but the backbone is fine-tuned.
"""

import torch
from torch import Tensor
from torch.nn import functional


def class_means(embeddings: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Prototypes (ways, D) of embeddings (N, D) with labels (N,)."""
    one_hot = functional.one_hot(labels, ways).to(embeddings.dtype)
    return (one_hot.t() @ embeddings) / one_hot.sum(0)[:, None]


def cosine_logits(queries: Tensor, prototypes: Tensor, scale: float | Tensor) -> Tensor:
    """Logits (N, ways) of queries (N, D) against prototypes (ways, D)."""
    return scale * functional.normalize(queries, dim=1) @ functional.normalize(prototypes, dim=1).t()


def prototype_loss(
    support: Tensor, support_labels: Tensor, queries: Tensor, query_labels: Tensor, ways: int, scale: float | Tensor
) -> Tensor:
    """Mean cross-entropy of the queries; both sides are embeddings (N, D)."""
    logits = cosine_logits(queries, class_means(support, support_labels, ways), scale)
    return functional.cross_entropy(logits, query_labels)


def accuracy(support: Tensor, support_labels: Tensor, queries: Tensor, query_labels: Tensor, ways: int) -> float:
    """The share of queries whose nearest prototype is their own."""
    logits = cosine_logits(queries, class_means(support, support_labels, ways), 1.0)
    return float((logits.argmax(1) == query_labels).double().mean())


SMALLEST_NORM = 1e-12  # as `functional.normalize` has it


def loss_and_gradients_(support: Tensor, queries: Tensor, labels: Tensor, ways: int, scale: float) -> float:
    """The loss of queries (N + U, D) against the prototypes of support (N, D), which has labels (N,).

    The first N queries have the support's labels. Any more have none: the mean entropy of what is predicted for them is
    added to the loss (Dhillon et al. 2020).

    In place of the embeddings its gradients by them are left. This is all that couples the images of a task: given
    these gradients, each image can go backwards alone. In closed form, with z = q / |q|, c = p / |p|, cosine
    similarities z c', and G the gradient by the cosines,

        dL/dq = (G c - z diag(G z c')) / |q|        dL/dp = (G' z - c diag(G' z c')) / |p|
    """
    one_hot = functional.one_hot(labels, ways).to(support.dtype)
    shares = one_hot / one_hot.sum(0)
    prototypes = shares.t() @ support
    sizes = prototypes.norm(dim=1, keepdim=True).clamp_min_(SMALLEST_NORM)
    prototypes /= sizes
    norms = queries.norm(dim=1, keepdim=True).clamp_min_(SMALLEST_NORM)
    queries /= norms
    cosines = queries @ prototypes.t()
    log_likelihood = functional.log_softmax(scale * cosines, 1)
    by_cosine = log_likelihood.exp()
    entropy = _entropy_and_gradients_(by_cosine[len(labels) :], log_likelihood[len(labels) :], scale)
    by_cosine[: len(labels)].sub_(one_hot).mul_(scale / len(labels))
    pull = by_cosine * cosines
    by_prototype = (by_cosine.t() @ queries).addcmul_(prototypes, pull.sum(0)[:, None], value=-1).div_(sizes)
    queries.mul_(-pull.sum(1, keepdim=True)).addmm_(by_cosine, prototypes).div_(norms)
    torch.mm(shares, by_prototype, out=support)
    return float(log_likelihood[: len(labels)].gather(1, labels[:, None]).mean().neg()) + entropy


def _entropy_and_gradients_(likelihood: Tensor, log_likelihood: Tensor, scale: float) -> float:
    """The mean entropy H of U predictions (U, ways), whose gradient by the cosines takes the likelihood's place:
    -p (log p + H) scale / U."""
    if not len(likelihood):
        return 0.0
    entropies = (likelihood * log_likelihood).sum(1, keepdim=True).neg_()
    likelihood.mul_(log_likelihood + entropies).mul_(-scale / len(likelihood))
    return float(entropies.mean())
