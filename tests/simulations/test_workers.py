import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from threading import Thread

import pytest

from simulations.executors.executor import Done, Job
from simulations.executors.workers import Workers
from tests.simulations.jobs import FUNCTIONS, run
from tinytrain_core.errors import FleetError

LIMIT_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for another process to do something."""
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has asked for its exit code has."""
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_every_job_comes_back_once() -> None:
    with Workers(f"{FUNCTIONS}:double", 2) as workers:
        assert workers.done() == []
        assert run(workers, range(500)) == {number: Done(number, 2 * number) for number in range(500)}
        assert workers.outstanding == 0
        assert run(workers, [7]) == {0: Done(0, 14)}


def test_an_exception_is_its_class_and_the_rest_is_in_the_log(tmp_path: Path) -> None:
    with Workers(f"{FUNCTIONS}:divide", 1, tmp_path) as workers:
        assert run(workers, [2, 0, 4]) == {0: Done(0, 0.5), 1: Done(1, error="ZeroDivisionError"), 2: Done(2, 0.25)}
    assert "division by zero" in (tmp_path / "worker-1.log").read_text()


def test_a_result_that_cannot_travel_is_an_error_of_its_job_alone(tmp_path: Path) -> None:
    with Workers(f"{FUNCTIONS}:unpicklable", 1, tmp_path) as workers:
        found = run(workers, range(100))
    assert [number for number, done in found.items() if done.error] == list(range(4, 100, 5))
    assert [done.value for done in found.values() if not done.error] == [n for n in range(100) if n % 5 != 4]


def test_a_job_that_kills_its_worker_is_the_only_one_that_fails(tmp_path: Path) -> None:
    with Workers(f"{FUNCTIONS}:exits", 2, tmp_path) as workers:
        found = run(workers, range(60))
    killers = {19, 39, 59}
    assert {number for number, done in found.items() if done.died} == killers
    assert {found[number].died for number in killers} == {"exit code 3"}
    assert all(done == Done(number, number) for number, done in found.items() if number not in killers)


def test_a_worker_that_is_killed_from_outside_loses_nothing(tmp_path: Path) -> None:
    file = tmp_path / "first"
    killer = Thread(target=lambda: (until(file.exists), os.kill(int(file.read_text()), signal.SIGKILL)))
    killer.start()
    with Workers(f"{FUNCTIONS}:killed_once", 1, tmp_path) as workers:
        assert run(workers, [str(file)]) == {0: Done(0, "first")}
    killer.join()


def test_workers_that_cannot_start_are_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    with Workers("tests.simulations.nowhere:function", 2, tmp_path) as workers:
        workers.submit([Job(0, 0)])
        with pytest.raises(FleetError, match=r"3 workers in a row ended with exit code 1 .*worker-3\.log"):
            workers.done()
    assert "No module named 'tests.simulations.nowhere'" in (tmp_path / "worker-3.log").read_text()


def test_published_data_is_seen_until_it_is_withdrawn() -> None:
    with Workers(f"{FUNCTIONS}:total", 2) as workers:
        workers.publish("a", bytes([1, 2]))
        workers.publish("a", b"held already")
        workers.publish("b", memoryview(bytes([10] * 5000)))
        names = [segment.name for segment in workers._pool._segments.values()]
        assert {number: done.value for number, done in run(workers, [0, 1], ("a",)).items()} == {0: 3, 1: 4}
        assert run(workers, [0], ("a", "b"))[0].value == 50_003
        workers.withdraw("a")
        workers.publish("a", bytes([5]))
        assert run(workers, [0], ("a",))[0].value == 5
    for name in names:
        with pytest.raises(FileNotFoundError):
            SharedMemory(name)


INTERRUPTED = """
import sys
from simulations.executors.executor import Job
from simulations.executors.workers import Workers

if __name__ == "__main__":
    with Workers("tests.simulations.jobs:forever", 2) as workers:
        workers.publish("data", bytes(100))
        print(workers._pool._segments["data"].name, flush=True)
        workers.submit([Job(n, file, ("data",)) for n, file in enumerate(sys.argv[1:])])
        workers.done()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_program_ends(tmp_path: Path, number: signal.Signals) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    script = tmp_path / "program.py"
    script.write_text(INTERRUPTED)
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, str(script), *map(str, files)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        until(lambda: all(file.exists() and file.read_text() for file in files))
        program.send_signal(number)
        output, errors = program.communicate(timeout=LIMIT_S)
    assert program.returncode == -number
    for file in files:
        until(lambda file=file: gone(int(file.read_text())))
    segment = Path("/dev/shm") / output.strip()
    if number == signal.SIGINT:
        assert "leaked" not in errors
        assert "KeyboardInterrupt" in errors
    until(lambda: not segment.exists())
