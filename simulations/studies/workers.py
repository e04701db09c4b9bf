"""The units of a study in processes of this machine; a single one is this process itself."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import Any

from simulations.executors.executor import Done, Job, Shared
from simulations.executors.workers import Workers as Processes
from simulations.studies.runner import Runner, Unit
from simulations.studies.study_settings import StudySettings
from simulations.studies.trials import Trial
from tinytrain_core.errors import FleetError, TinyTrainError

FUNCTION = f"{__name__}:answer"
_runner = lru_cache(maxsize=1)(Runner)


def answer(argument: Any, shared: Shared) -> Trial | TinyTrainError:
    """What became of a unit of a study, or what was wrong with it; `argument` is both."""
    settings, unit = argument
    try:
        return _runner(settings).run(unit)
    except TinyTrainError as error:
        return error


def _trial(done: Done) -> Trial:
    """The trial of a job that has ended.

    Raises:
        FleetError: it took its process with it, twice, or failed.
        TinyTrainError: what was wrong with its unit.
    """
    if isinstance(done.value, TinyTrainError):
        raise done.value
    if isinstance(done.value, Trial):
        return done.value
    raise FleetError(
        f"a worker ended with {done.died or done.error}; what had ended before is kept, and the same command goes on "
        "from there, with fewer --workers if the memory was too small for so many"
    )


class Workers:
    """At most `workers` processes, for as long as the `with` lasts."""

    def __init__(self, settings: StudySettings, workers: int) -> None:
        self._settings, self._count = settings, workers
        self._processes, self._numbers = Processes(FUNCTION, workers), count()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.__exit__()

    def run(self, units: list[Unit]) -> Iterator[Trial]:
        """The trials of `units`, as they end; units are begun in their order.

        Raises:
            FleetError: a unit takes its process with it, whenever it is tried.
            TinyTrainError: what was wrong with a unit.
        """
        if self._count == 1:
            yield from map(Runner(self._settings).run, units)
            return
        self._processes.submit(Job(next(self._numbers), (self._settings, unit)) for unit in units)
        while self._processes.outstanding:
            yield from map(_trial, self._processes.done())
