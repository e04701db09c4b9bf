"""An executor of Ray actors: in a Ray that is started for it on this machine, or in a cluster that is running."""

import os
import socket
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from simulations.environment import RAY_QUIET, WORKER, environment
from simulations.executors.calls import Answer, Call, Calls
from simulations.executors.dispatch import Dispatch
from simulations.executors.pool import Answers, Ended, Event, Ready
from simulations.executors.ray_settings import LOCAL, QUIET
from tinytrain_core.errors import FleetError
from tinytrain_core.selection.methods.registry import FILES_VARIABLE

CPUS = "CPU"  # Ray's name of cores
REACH_S = 10.0  # for a cluster to accept a connection


class _Actor:
    """A worker: the function of calls, and the published data that it has seen."""

    def __init__(self, function: str) -> None:
        self._calls = Calls(function)

    def ready(self) -> None:
        """That it could be made."""

    def answers(self, calls: Sequence[Call], published: dict[str, list[Any]]) -> tuple[list[Answer], float]:
        """What becomes of calls; `published` has a reference to each piece of data, which Ray resolves no deeper."""
        import ray

        data = {key: memoryview(ray.get(reference[0])) for key, reference in published.items()}
        return self._calls.answers(calls, data)


def _variables() -> dict[str, str]:
    """The environment of actors: it has what this process could import, and names the files of methods."""
    path = os.pathsep.join([str(Path.cwd()), *(entry for entry in sys.path if entry)])
    named = {name: os.environ[name] for name in (FILES_VARIABLE,) if name in os.environ}
    return WORKER | named | {"PYTHONPATH": path}


@contextmanager
def _quiet() -> Iterator[None]:
    """Start and stop Ray without telemetry, and without its warnings of what it leaves open."""
    with environment(RAY_QUIET | WORKER), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Actors:
    """The pool: actors by number, what each was asked, and where published data is."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._numbers = count(1)
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}  # references of answers to come, and whose
        self._starting: set[Any] = set()  # those among them that only say that an actor is ready
        self._published: dict[str, Any] = {}

    def start(self) -> int:
        import ray

        number = next(self._numbers)
        options = {"num_cpus": 1, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self._actors[number] = ray.remote(_Actor).options(**options).remote(self._function)
        self._asked[ready := self._actors[number].ready.remote()] = number
        self._starting.add(ready)
        return number

    def give(self, worker: int, calls: Sequence[Call]) -> None:
        published = {key: [self._published[key]] for call in calls for key in call.shared}
        self._asked[self._actors[worker].answers.remote(calls, published)] = worker

    def events(self) -> list[Event]:
        import ray

        ray.wait(list(self._asked), num_returns=1)
        ended, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        return [event for reference in ended for event in self._events(reference)]

    def _events(self, reference: Any) -> list[Event]:
        """What a reference that has come to an end says; more where its actor is dead."""
        import ray

        worker = self._asked.pop(reference, None)
        if worker is None:  # of an actor whose end was told with another reference
            return []
        starting = reference in self._starting
        self._starting.discard(reference)
        try:
            value = ray.get(reference)
        except ray.exceptions.RayError as error:
            return [*self._rest(worker), Ended(worker, type(error).__name__)]
        return [Ready(worker) if starting else Answers(worker, *value)]

    def _rest(self, worker: int) -> list[Event]:
        """What a dead actor had still answered."""
        import ray

        ray.kill(self._actors.pop(worker))
        found: list[Event] = []
        for reference in [reference for reference, asked in self._asked.items() if asked == worker]:
            del self._asked[reference]
            with suppress(ray.exceptions.RayError):
                found.append(Answers(worker, *ray.get(reference)))
        return found

    def publish(self, key: str, data: bytes | memoryview) -> None:
        import numpy as np
        import ray

        if key not in self._published:
            self._published[key] = ray.put(np.frombuffer(data, dtype=np.uint8))  # which is read where it lies

    def withdraw(self, key: str) -> None:
        self._published.pop(key, None)

    def hint(self, worker: int) -> str:
        return (
            f"can every machine of the cluster import {self._function.partition(':')[0]}? Ray's own logs say more: "
            "they are in /tmp/ray/session_latest/logs of each"
        )

    def close(self) -> None:
        import ray

        actors, self._actors = self._actors, {}
        for actor in actors.values():
            ray.kill(actor)
        self._asked.clear()
        self._published.clear()


def _check_reachable(address: str) -> None:
    """Make sure that somebody listens, which Ray itself would try for minutes.

    Raises:
        FleetError: nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # a word of Ray's own, as `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except OSError as error:
        raise FleetError(
            f"there is no Ray cluster at {address}: {error.strerror or error}; "
            "`ray start --head` starts one and prints its address"
        ) from error


class RayWorkers(Dispatch):
    """An executor of Ray actors, one core and one thread each.

    Args:
        function: `module:name` of what is called for each job.
        workers: actors at most; None is one for each core of the cluster.
        address: of a cluster that is running; empty starts a Ray on this machine, and ends it.
    """

    def __init__(self, function: str, workers: int | None, address: str = "") -> None:
        super().__init__(_Actors(function), workers or 1)
        self._all_cores = workers is None
        self._address = address
        self._started = False

    def __enter__(self) -> "RayWorkers":
        """Connect, or start Ray.

        Raises:
            FleetError: there is no such cluster, or Ray cannot be started.
        """
        import ray

        if not ray.is_initialized():
            self._start()
        if self._all_cores:
            resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            self._count = max(int(resources.get(CPUS, 1)), 1)
        return self

    def _start(self) -> None:
        import ray

        mine = LOCAL | {"num_cpus": self._count, "address": "local"}
        settings = QUIET | {"address": self._address} if self._address else mine
        _check_reachable(self._address)
        try:
            with _quiet():
                ray.init(runtime_env={"env_vars": _variables()}, **settings)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"cannot use the Ray cluster at {self._address}" if self._address else "cannot start Ray here"
            raise FleetError(f"{where}: {error}; processes of this machine need no Ray: -o engine=workers") from error
        self._started = True

    def __exit__(self, *_: object) -> None:
        import ray

        try:
            super().__exit__()
        finally:
            if self._started:
                with _quiet():
                    ray.shutdown()
