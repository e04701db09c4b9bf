"""SparseUpdate's second step: the scheme of largest summed contribution under a memory cap, by evolution.

A scheme is a number of biases and a share for each convolution. A generation keeps its best quarter; the others are
children of two of these, each gene of one or the other, and some genes new (Lin et al. 2022; the sizes are ours).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tinytrain_core.seeds import Draw, generator
from tinytrain_core.selection.methods.sparse_update import Scheme

POPULATION = 100
GENERATIONS = 50
PARENTS = POPULATION // 4
MUTATION = 0.1
TRIES = 1000  # of a random scheme that fits


@dataclass(frozen=True)
class Contributions:
    """What updating each part alone gains, in accuracy.

    Attributes:
        biases: of the last so many convolutions -> gain; 0 has none.
        weights: convolution -> share of its input channels -> gain; 0 has none.
    """

    biases: dict[int, float]
    weights: dict[int, dict[float, float]]

    def of(self, scheme: Scheme) -> float:
        """The summed gain of a scheme."""
        return self.biases[scheme.biases] + sum(self.weights[index][share] for index, share in scheme.weights.items())


Fits = Callable[[Scheme], bool]


class Evolution:
    """A population of schemes that fit.

    Args:
        fits: whether a scheme is within the budget; the scheme of nothing has to be.
    """

    def __init__(self, contributions: Contributions, fits: Fits, seed: int) -> None:
        self._gains, self._fits = contributions, fits
        self._rng = generator(seed, Draw.SEARCH)

    def run(self) -> Iterator[Scheme]:
        """The best scheme after each generation."""
        population = [self._random() for _ in range(POPULATION)]
        for _ in range(GENERATIONS):
            population.sort(key=self._gains.of, reverse=True)
            yield population[0]
            parents = population[:PARENTS]
            population = parents + [self._child(parents) for _ in range(POPULATION - PARENTS)]
        yield max(population, key=self._gains.of)

    def _random(self) -> Scheme:
        """A scheme that fits: of drawn parts, as many as do."""
        biases = Scheme(self._any_biases(), {})
        scheme = biases if self._fits(biases) else Scheme(0, {})
        for index in self._rng.permutation(list(self._gains.weights)).tolist():
            more = Scheme(scheme.biases, {**scheme.weights, index: self._any_share(index)})
            scheme = more if self._rng.random() < 1 / 2 and self._fits(more) else scheme
        return scheme

    def _any_biases(self) -> int:
        return int(self._rng.choice(list(self._gains.biases)))

    def _any_share(self, index: int) -> float:
        return float(self._rng.choice(list(self._gains.weights[index])))

    def _child(self, parents: list[Scheme]) -> Scheme:
        """A child that fits; its first parent where none of many does."""
        for _ in range(TRIES):
            a, b = (parents[int(i)] for i in self._rng.integers(len(parents), size=2))
            child = self._crossed(a, b)
            if self._fits(child):
                return child
        return a

    def _crossed(self, a: Scheme, b: Scheme) -> Scheme:
        biases = self._any_biases() if self._rng.random() < MUTATION else (a, b)[int(self._rng.integers(2))].biases
        weights = {}
        for index in self._gains.weights:
            share = (a, b)[int(self._rng.integers(2))].weights.get(index, 0.0)
            if self._rng.random() < MUTATION:
                share = self._any_share(index) if self._rng.random() < 1 / 2 else 0.0
            if share:
                weights[index] = share
        return Scheme(biases, weights)
