"""How jobs are shared out, with workers that are only written down."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from simulations.executors.calls import Answer, Call
from simulations.executors.dispatch import MAX_BATCH, Dispatch
from simulations.executors.executor import Done, Job
from simulations.executors.pool import Answers, Ended, Event, Ready


@dataclass
class Written:
    """A pool in which jobs take `job_s`, and `killers` end the worker that does them.

    Attributes:
        given: the batches of each worker, as numbers of jobs. waiting: what each has not done.
        most: the most jobs that a worker had at once.
    """

    job_s: float
    killers: frozenset[int] = frozenset()
    given: dict[int, list[list[int]]] = field(default_factory=dict)
    waiting: dict[int, list[list[int]]] = field(default_factory=dict)
    starting: list[int] = field(default_factory=list)
    most: int = 0

    def start(self) -> int:
        number = len(self.given) + 1
        self.given[number], self.waiting[number] = [], []
        self.starting.append(number)
        return number

    def give(self, worker: int, calls: Sequence[Call]) -> None:
        numbers = [call.number for call in calls]
        self.given[worker].append(numbers)
        self.waiting[worker].append(numbers)
        self.most = max(self.most, sum(map(len, self.waiting[worker])))

    def events(self) -> list[Event]:
        if self.starting:
            return [Ready(self.starting.pop(0))]
        worker = max(self.waiting, key=lambda number: len(self.waiting[number]))
        batch = self.waiting[worker].pop(0)
        done = batch[: next((i for i, number in enumerate(batch) if number in self.killers), len(batch))]
        answers = Answers(worker, [Answer(number, -number, "") for number in done], self.job_s * len(done))
        if done == batch:
            return [answers]
        del self.waiting[worker]
        return [answers, Ended(worker, "exit code 1")]

    def publish(self, key: str, data: bytes | memoryview) -> None: ...

    def withdraw(self, key: str) -> None: ...

    def close(self) -> None: ...

    def hint(self, worker: int) -> str:
        return ""


def run(pool: Written, jobs: int, workers: int = 2) -> dict[int, Done]:
    dispatch = Dispatch(pool, workers)
    dispatch.submit(Job(number, None) for number in range(jobs))
    found: dict[int, Done] = {}
    while dispatch.outstanding:
        found |= {done.number: done for done in dispatch.done()}
    return found


def test_slow_jobs_are_given_one_by_one() -> None:
    pool = Written(job_s=2.0)
    assert run(pool, 20) == {number: Done(number, -number) for number in range(20)}
    assert pool.most == 1


def test_quick_jobs_travel_together_and_one_batch_is_ahead() -> None:
    pool = Written(job_s=0.0001)
    assert len(run(pool, 1000)) == 1000
    batches = [len(batch) for batches in pool.given.values() for batch in batches]
    assert max(batches) == MAX_BATCH
    assert len(batches) < 60
    assert pool.most == 2 * MAX_BATCH


def test_a_batch_of_jobs_that_take_a_moment_takes_no_longer_than_a_bar_needs_to_move() -> None:
    pool = Written(job_s=0.01)
    run(pool, 100)
    assert max(len(batch) for batches in pool.given.values() for batch in batches) == 7


def test_no_more_workers_are_started_than_there_are_jobs() -> None:
    pool = Written(job_s=1.0)
    run(pool, 3, workers=8)
    assert len(pool.given) == 3


def test_what_a_dead_worker_had_not_answered_is_done_again_alone() -> None:
    pool = Written(job_s=0.0001, killers=frozenset({150}))
    found = run(pool, 300, workers=1)
    assert found[150] == Done(150, died="exit code 1")
    assert all(found[number] == Done(number, -number) for number in range(300) if number != 150)
    assert len(pool.given) == 3  # one died with it among others, one with it alone
    again = [batch for batch in pool.given[2] if len(batch) > 1]
    assert pool.given[2][-1] == [150]
    assert not again


def test_two_killers_in_one_batch_are_both_found() -> None:
    pool = Written(job_s=0.0001, killers=frozenset({20, 21, 22}))
    found = run(pool, 200)
    assert {number for number, done in found.items() if done.died} == {20, 21, 22}
    assert len(found) == 200
