"""Whole personalisations against plain PyTorch: CPU seconds, all arms in turn, medians and quartiles of ratios."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.baselines import Naive
from benchmarks.cases import Case
from benchmarks.ours import Ours, personalise, unlimited
from tinytrain_core.selection.plan import UpdatePlan

BLOCKS = (2, 6)
TARGETS = {  # (baseline, blocks of the window): at least so many times as fast
    ("naive full", 2): 20.0,
    ("naive full", 6): 9.0,
    ("naive sparse", 2): 7.0,
    ("naive sparse", 6): 3.5,
}
SELECTION_TARGETS = {2: 0.05, 6: 0.025}  # at most that share of the whole


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True)
class Ratio:
    """How many times as long a baseline takes as the engine, on one backbone and window."""

    backbone: str
    blocks: int
    baseline: str
    target: float | None
    times: Spread
    seconds: Spread


@dataclass(frozen=True)
class Whole:
    """The engine on one backbone and window: seconds, and the share of each part."""

    backbone: str
    blocks: int
    updated_layers: int
    seconds: Spread
    clean_share: Spread
    selection_share: Spread
    selection_target: float


def _timed(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def baselines(case: Case, plans: dict[int, UpdatePlan]) -> dict[tuple[str, int], Callable[[], list[float]]]:
    """Every baseline by its name and the window it is for; 0 is any."""

    def run(plan: UpdatePlan | None, channels_last: bool) -> Callable[[], list[float]]:
        return lambda: Naive(case, plan, channels_last).run()

    arms = {("naive full", 0): run(None, False), ("naive full, channels-last", 0): run(None, True)}
    for blocks, plan in plans.items():
        arms["naive sparse", blocks] = run(plan, False)
        arms["naive sparse, channels-last", blocks] = run(plan, True)
    return arms


def measure(case: Case, rounds: int, tell: Callable[[str], None]) -> tuple[list[Ratio], list[Whole]]:
    """All arms on one case, `rounds` times in turn."""
    plans = {blocks: personalise(case, unlimited(case), blocks).plan for blocks in BLOCKS}
    arms = baselines(case, plans)
    seconds: dict[tuple[str, int], list[float]] = {name: [] for name in arms}
    ours: dict[int, list[Ours]] = {blocks: [] for blocks in BLOCKS}
    for number in range(rounds):
        for blocks in BLOCKS:
            ours[blocks].append(personalise(case, unlimited(case), blocks))
        for name, run in arms.items():
            tell(f"{case.name}: round {number + 1} of {rounds}, {name[0]}")
            seconds[name].append(_timed(run))
    return list(_ratios(case, ours, seconds)), [_whole(case, blocks, runs) for blocks, runs in ours.items()]


def _ratios(case: Case, ours: dict[int, list[Ours]], seconds: dict[tuple[str, int], list[float]]) -> Iterator[Ratio]:
    for blocks, runs in ours.items():
        for (name, of_blocks), theirs in seconds.items():
            if of_blocks in (0, blocks):
                times = [a / b.total_s for a, b in zip(theirs, runs, strict=True)]
                target = TARGETS.get((name, blocks))
                yield Ratio(case.name, blocks, name, target, Spread.of(times), Spread.of(theirs))


def _whole(case: Case, blocks: int, runs: list[Ours]) -> Whole:
    return Whole(
        case.name,
        blocks,
        len(runs[0].plan.updates),
        Spread.of([run.total_s for run in runs]),
        Spread.of([run.clean_s / run.total_s for run in runs]),
        Spread.of([run.selection_s / run.total_s for run in runs]),
        SELECTION_TARGETS[blocks],
    )
