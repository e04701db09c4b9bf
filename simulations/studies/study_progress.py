"""How far a study is: a bar in a terminal, plain lines elsewhere, and when it will be over."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulations.studies.runner import Unit
from simulations.studies.trials import Key, Trial

LINE_S = 30.0  # between two plain lines
Group = tuple[str, ...]


def _groups(key: Key) -> tuple[Group, ...]:
    """What a unit takes about as long as, the most alike first."""
    on = (key.arm, key.training, key.backbone)
    return (*on, key.data), on, ()


@dataclass
class Estimate:
    """What is left, in seconds, from the seconds that units of the same arm, backbone and data have taken."""

    left: Counter[Key] = field(default_factory=Counter)
    seconds: dict[Group, list[float]] = field(default_factory=dict)
    measured_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def learn(self, trial: Trial) -> None:
        for group in _groups(trial.key):
            total = self.seconds.setdefault(group, [0.0, 0])
            total[0] += trial.seconds
            total[1] += 1

    def plan(self, units: Iterable[Unit]) -> None:
        self.left = Counter(unit.key._replace(trial=0) for unit in units)

    def take(self, trial: Trial) -> None:
        """A unit of what is left has ended."""
        self.learn(trial)
        self.measured_s += trial.seconds
        self.left[trial.key._replace(trial=0)] -= 1

    def _unit_s(self, key: Key) -> float:
        known = next((self.seconds[group] for group in _groups(key) if group in self.seconds), None)
        return known[0] / known[1] if known else 0.0

    def left_s(self) -> float | None:
        """Until the end, None while nothing is known of it: the units' own seconds, at the pace of this run."""
        if not self.measured_s:
            return None
        pace = (time.monotonic() - self.started_s) / self.measured_s
        return pace * sum(count * self._unit_s(key) for key, count in self.left.items())


def clock(seconds: float | None) -> str:
    """Seconds as H:MM:SS."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class StudyProgress:
    """What to tell of a study's trials as they come; `show` gets (done, of how many, text), `say` a line of its own."""

    def __init__(self, show: Callable[[int, int, str], None], say: Callable[[str], None] = lambda line: None) -> None:
        self._show, self.say = show, say
        self._estimate = Estimate()
        self._done = self._failed = 0

    def plan(self, units: Sequence[Unit], known: Iterable[Trial] = ()) -> None:
        """What is to be run now, and what has been run by others before."""
        self._estimate.plan(units)
        for trial in known:
            self._estimate.learn(trial)
        self._tell("")

    def take(self, trial: Trial) -> None:
        """A trial has ended."""
        self._done += 1
        self._failed += trial.outcome == "failed"
        self._estimate.take(trial)
        self._tell(f"{trial.purpose}, {trial.data}, {trial.backbone}, {trial.arm}")

    def _tell(self, text: str) -> None:
        failed = f"{self._failed} failed" if self._failed else ""
        words = ", ".join(filter(None, (f"ETA {clock(self._estimate.left_s())}", failed, text)))
        self._show(self._done, self._done + self._estimate.left.total(), words)


@contextmanager
def _bar(console: Console) -> Iterator[StudyProgress]:
    columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=None)

        def show(done: int, total: int, text: str) -> None:
            progress.update(task, completed=done, total=total, description=text)

        yield StudyProgress(show, partial(console.print, highlight=False, markup=False))


@contextmanager
def _lines(console: Console) -> Iterator[StudyProgress]:
    start_s = told_s = time.monotonic()

    def show(done: int, total: int, text: str) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if 0 < done < total and now_s - told_s < LINE_S:
            return
        told_s = now_s
        console.print(f"{done}/{total} trials, {clock(now_s - start_s)}, {text}", highlight=False, markup=False)

    yield StudyProgress(show, partial(console.print, highlight=False, markup=False))


@contextmanager
def study_progress(console: Console) -> Iterator[StudyProgress]:
    """The progress of one study."""
    with (_bar if console.is_terminal else _lines)(console) as progress:
        yield progress
