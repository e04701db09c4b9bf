"""Who works on which job: batches, what is tried again, and who is at fault when a process dies.

Quick jobs travel in batches, as many as take about `BATCH_S`; slow ones one by one, so that no worker waits for
another at the end. Where a process dies, whatever it had not answered is done again, each job alone on a worker: the
one that takes its worker with it when it is alone is the one to blame.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from simulations.executors.calls import Call
from simulations.executors.executor import Done, Job
from simulations.executors.pool import Answers, Ended, Event, Pool
from tinytrain_core.errors import FleetError

BATCH_S = 0.075
MAX_BATCH = 64
AHEAD_S = 0.1  # a worker is given its next batch before it asks for it, unless a job takes this long
STARTS = 3  # workers that may fail to start, one after the other


@dataclass
class _Pace:
    """How long jobs take, by what was measured last."""

    job_s: float | None = None

    def learn(self, jobs: int, seconds: float) -> None:
        mean_s = seconds / jobs
        self.job_s = mean_s if self.job_s is None else (self.job_s + mean_s) / 2

    def batch(self, waiting: int, workers: int) -> int:
        """How many of the waiting jobs travel together."""
        if self.job_s is None:
            return 1
        fair = ceil(waiting / (2 * workers))
        return max(1, min(MAX_BATCH, fair, int(BATCH_S / max(self.job_s, BATCH_S / MAX_BATCH))))

    @property
    def ahead(self) -> bool:
        """Whether a worker has its next batch before it has done its last."""
        return self.job_s is not None and self.job_s < AHEAD_S


@dataclass
class _Worker:
    """What a worker has not answered yet, in its order."""

    ready: bool = False
    jobs: dict[int, Job] = field(default_factory=dict)
    alone: bool = False  # its job is to be the only one until it has ended


class Dispatch:
    """An executor over a pool of processes.

    Args:
        count: how many processes there may be at once.
    """

    def __init__(self, pool: Pool, count: int) -> None:
        self._pool = pool
        self._count = count
        self._workers: dict[int, _Worker] = {}
        self._waiting: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._finished: list[Done] = []
        self._outstanding = 0
        self._pace = _Pace()
        self._failed_starts = 0

    def __enter__(self) -> "Dispatch":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def publish(self, key: str, data: bytes | memoryview) -> None:
        """As `Executor.publish`."""
        self._pool.publish(key, data)

    def withdraw(self, key: str) -> None:
        """As `Executor.withdraw`."""
        self._pool.withdraw(key)

    @property
    def count(self) -> int:
        """How many processes there may be at once."""
        return self._count

    @property
    def outstanding(self) -> int:
        """Jobs that have not come back."""
        return self._outstanding

    def submit(self, jobs: Iterable[Job]) -> None:
        """As `Executor.submit`."""
        if not self._outstanding:
            self._pace = _Pace()  # what comes now may be of another kind
        before = len(self._waiting)
        self._waiting.extend(jobs)
        self._outstanding += len(self._waiting) - before
        self._feed()

    def done(self) -> list[Done]:
        """As `Executor.done`."""
        while self._outstanding and not self._finished:
            for event in self._pool.events():
                self._handle(event)
            self._feed()
        found, self._finished = self._finished, []
        self._outstanding -= len(found)
        return found

    def _handle(self, event: Event) -> None:
        worker = self._workers[event.worker]
        if isinstance(event, Answers):
            self._answered(worker, event)
        elif isinstance(event, Ended):
            del self._workers[event.worker]
            self._ended(worker, event)
        else:
            worker.ready = True
            self._failed_starts = 0

    def _answered(self, worker: _Worker, event: Answers) -> None:
        for number, value, error in event.answers:
            del worker.jobs[number]
            self._finished.append(Done(number, value, error))
        worker.alone = worker.alone and bool(worker.jobs)
        if event.answers:
            self._pace.learn(len(event.answers), event.seconds)

    def _ended(self, worker: _Worker, event: Ended) -> None:
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise FleetError(
                    f"{STARTS} workers in a row ended with {event.how} before they could begin; "
                    f"{self._pool.hint(event.worker)}"
                )
        elif worker.alone:
            self._finished += [Done(number, died=event.how) for number in worker.jobs]
        else:
            self._suspects.extend(worker.jobs.values())

    def _feed(self) -> None:
        """Start workers that are missing, and give jobs to those that have too few."""
        unfinished = self._outstanding - len(self._finished)
        while len(self._workers) < min(self._count, unfinished):
            self._workers[self._pool.start()] = _Worker()
        for _ in range(2):  # a batch each, and one more each to have ahead
            for number, worker in self._workers.items():
                if worker.ready and not worker.alone:
                    self._fill(number, worker)

    def _fill(self, number: int, worker: _Worker) -> None:
        if self._suspects:
            if not worker.jobs:
                worker.alone = True
                self._give(number, worker, [self._suspects.popleft()])
            return
        size = self._pace.batch(len(self._waiting), self._count)
        if self._waiting and len(worker.jobs) <= (size if self._pace.ahead else 0):
            self._give(number, worker, [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))])

    def _give(self, number: int, worker: _Worker, jobs: list[Job]) -> None:
        worker.jobs.update((job.number, job) for job in jobs)
        self._pool.give(number, [Call(job.number, job.argument, job.shared) for job in jobs])
