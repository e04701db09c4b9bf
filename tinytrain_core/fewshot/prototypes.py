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


def loss_and_gradients(
    support: Tensor, support_labels: Tensor, queries: Tensor, query_labels: Tensor, ways: int, scale: float
) -> tuple[float, Tensor, Tensor]:
    """The loss, and its gradients by the support (N, D) and by the query embeddings (M, D).

    This is all that couples the images of a task: given these gradients, each image can go backwards alone.
    """
    support, queries = support.detach().requires_grad_(), queries.detach().requires_grad_()
    loss = prototype_loss(support, support_labels, queries, query_labels, ways, scale)
    by_support, by_queries = torch.autograd.grad(loss, (support, queries))
    return float(loss.detach()), by_support, by_queries
