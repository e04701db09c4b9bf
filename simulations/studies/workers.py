"""Processes that run units, one torch thread each; at most one unit waits on each of them.

They are spawned, so that they share nothing, and each has a pipe of its own: it ends when that is closed, hence also
when the process at the other end was killed.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

import torch

from simulations.studies.runner import Runner, Unit
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Trial
from tinytrain_core.errors import FleetError, TinyTrainError

Run = Callable[[Unit], Trial]


def _answer(run: Run, unit: Unit) -> Trial | TinyTrainError:
    try:
        return run(unit)
    except TinyTrainError as error:
        return error


def _serve(settings: StudySettings, pipe: Connection) -> None:
    """A worker: units in, trials out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    run = Runner(settings).run
    with suppress(EOFError, OSError):
        while True:
            pipe.send(_answer(run, pipe.recv()))


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    pipe: Connection

    def give(self, unit: Unit | None) -> bool:
        """Whether there was a unit to give."""
        if unit is not None:
            with suppress(OSError):  # of a dead worker, which taking from it tells
                self.pipe.send(unit)
        return unit is not None

    def take(self) -> Trial:
        """The trial that it has ended.

        Raises:
            FleetError: it is dead.
            TinyTrainError: what was wrong with its unit.
        """
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise FleetError(
                f"a worker ended with exit code {self.process.exitcode}; what had ended before is kept, and the same "
                "command goes on from there, with fewer --workers if the memory was too small for so many"
            ) from None
        if isinstance(answer, TinyTrainError):
            raise answer
        return cast(Trial, answer)


class Workers:
    """At most `count` processes, for as long as the `with` lasts; a single one is this process itself."""

    def __init__(self, settings: StudySettings, count: int) -> None:
        self._settings = settings
        self._count = count
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def _start(self, count: int) -> list[_Worker]:
        """At least `count` workers, as far as there may be so many."""
        context = get_context("spawn")
        while len(self._workers) < min(count, self._count):
            near, far = context.Pipe()
            process = context.Process(target=_serve, args=(self._settings, far), daemon=True)
            process.start()
            far.close()
            self._workers.append(_Worker(process, near))
        return self._workers

    def run(self, units: list[Unit]) -> Iterator[Trial]:
        """The trials of `units`, as they end; units are begun in their order.

        Raises:
            FleetError: a worker died.
            TinyTrainError: what was wrong with a unit.
        """
        if self._count == 1:
            yield from map(Runner(self._settings).run, units)
            return
        waiting = iter(units)
        busy = {w.pipe: w for w in self._start(len(units)) if w.give(next(waiting, None))}
        while busy:
            for pipe in wait(list(busy)):
                worker = busy[cast(Connection, pipe)]
                trial = worker.take()
                if not worker.give(next(waiting, None)):
                    del busy[worker.pipe]
                yield trial
