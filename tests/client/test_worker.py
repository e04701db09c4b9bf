"""The process that sees private images: what it is kept from, how it ends, and what its parent believes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from client.agent.work import Work, WorkerProcess
from client.agent.worker import Job
from client.config import load_node_config
from client.store import Store
from tests.client.agents import (
    NOW,
    Device,
    in_a_process,
    manifest,
    open_device,
    order,
    outcomes,
    write_device,
)
from tests.client.images import write_images
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome
from tinytrain_core.wire import PersonaliseRequest

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
LONG: dict[str, Any] = {"method": "full_train", "steps": 10_000}


def wait_for(what: Callable[[], bool], device: Device) -> None:
    """Let a device go on, by a clock that runs ten times as fast."""
    began = time.monotonic()
    while not what() and time.monotonic() < began + 60:
        device.agent.tick(NOW + 10 * (time.monotonic() - began))
        time.sleep(0.02)
    assert what()


@dataclass
class Started:
    """Starts real workers and remembers them."""

    folder: Path
    works: list[WorkerProcess] = field(default_factory=list)

    def __call__(self, job: Job) -> Work:
        work = in_a_process(self.folder)(job.model_copy(update={"parent": os.getpid()}))
        assert isinstance(work, WorkerProcess)
        self.works.append(work)
        return work


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes() if f.is_file() else b"") for f in folder.rglob("*")}


def test_outcomes_are_recorded_and_private_images_are_not_touched(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "single", 1, 4)
    devices = [{}, {"data": "empty"}, {"data": "single"}, {"memory_bytes": 200_000}, {"data": "nowhere"}]
    (tmp_path / "nowhere").mkdir()
    device = open_device(write_device(tmp_path, devices), Started(tmp_path))
    (tmp_path / "nowhere").rmdir()
    for folder in (tmp_path / "images11", *(tmp_path / "images11").iterdir()):
        folder.chmod(0o555)
    before = contents(tmp_path / "images11")
    assert device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.NONE
    wait_for(lambda: device.state.running() is None, device)
    assert outcomes(device) == {
        11: (outcomes(device)[11][0], ErrorCode.NONE),
        12: (Outcome.FAILED, ErrorCode.NO_IMAGES),
        13: (Outcome.FAILED, ErrorCode.TOO_FEW_CLASSES),
        14: (Outcome.CANNOT_AFFORD, ErrorCode.NONE),
        15: (Outcome.FAILED, ErrorCode.CONFIGURATION),
    }
    assert contents(tmp_path / "images11") == before
    assert "nowhere" in (tmp_path / "worker.log").read_text(encoding="utf-8")
    device.state.close()


def test_a_killed_worker_is_begun_again(tmp_path: Path, data: bytes) -> None:
    started = Started(tmp_path)
    device = open_device(write_device(tmp_path), started)
    assert device.agent.order(order(manifest(data, 1), settings={"steps": 100}), data, NOW) == ErrorCode.NONE
    wait_for(lambda: getattr(device.state.running(), "proven", False), device)  # it is about to train
    os.kill(started.works[0].process.pid, signal.SIGKILL)
    wait_for(lambda: device.state.running() is None, device)
    assert len(started.works) == 2
    assert outcomes(device)[11][1] == ErrorCode.NONE
    device.state.close()


def test_a_device_that_always_ends_its_worker_is_recorded_and_the_others_go_on(tmp_path: Path, data: bytes) -> None:
    started = Started(tmp_path)
    device = open_device(write_device(tmp_path, [{}, {}], max_attempts=2), started)
    assert device.agent.order(order(manifest(data, 1), settings=LONG), data, NOW) == ErrorCode.NONE
    for life in range(2):
        wait_for(lambda life=life: len(started.works) == life + 1, device)
        started.works[life].process.kill()
        started.works[life].process.wait()
    wait_for(lambda: bool(outcomes(device)), device)
    assert outcomes(device) == {11: (Outcome.FAILED, ErrorCode.CRASHED)}
    wait_for(lambda: len(started.works) == 3, device)
    assert device.state.tries(12) == 1
    device.agent.stop()
    assert device.state.tries(12) == 0
    assert started.works[2].process.poll() is not None
    device.state.close()


def test_a_worker_that_takes_too_long_is_ended(tmp_path: Path, data: bytes) -> None:
    device = open_device(write_device(tmp_path, max_attempts=1, work_limit_s=0.2), Started(tmp_path))
    assert device.agent.order(order(manifest(data, 1), settings=LONG), data, NOW) == ErrorCode.NONE
    wait_for(lambda: device.state.running() is None, device)
    assert outcomes(device) == {11: (Outcome.FAILED, ErrorCode.CRASHED)}
    device.state.close()


def test_a_node_whose_file_is_broken_while_it_runs_goes_on(tmp_path: Path, data: bytes) -> None:
    device = open_device(write_device(tmp_path), Started(tmp_path))
    (tmp_path / "node.yaml").write_text("devices: [", encoding="utf-8")
    assert device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.NONE
    wait_for(lambda: device.state.running() is None, device)
    assert outcomes(device)[11][1] == ErrorCode.NONE
    device.state.close()


PARENT = """
import os, sys, time
from pathlib import Path
from client.agent.work import WorkerProcess
from client.agent.worker import Job
job = Job.model_validate_json(sys.argv[1]).model_copy(update={"parent": os.getpid()})
print(WorkerProcess.start(job, Path(sys.argv[2])).process.pid, flush=True)
time.sleep(100)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] not in "ZX"
    except FileNotFoundError:
        return False


@LINUX
def test_a_worker_dies_with_its_parent(tmp_path: Path, data: bytes) -> None:
    write_device(tmp_path)
    Store(tmp_path / "store").save_backbone(digest(data), data)
    job = Job(node=load_node_config(tmp_path / "node.yaml"), request=PersonaliseRequest(digest=digest(data), **LONG))
    command = [sys.executable, "-c", PARENT, job.model_dump_json(), str(tmp_path / "worker.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.kill()
    deadline = time.monotonic() + 30
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


@LINUX
def test_a_worker_gives_up_what_it_does_not_need(tmp_path: Path) -> None:
    script = """
import json, os, resource, socket, sys
from client.agent.confinement import confine_worker
refused = confine_worker(512)
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5).close()
    network = True
except OSError:
    network = False
try:
    bytearray(2**30)
    memory = True
except MemoryError:
    memory = False
print(json.dumps([network, memory, os.nice(0) >= 10, resource.getrlimit(resource.RLIMIT_CORE)[0], refused]))
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        found = subprocess.run([sys.executable, "-c", script, port], capture_output=True, text=True, check=True)
    network, memory, nice, core, refused = json.loads(found.stdout)
    assert (memory, nice, core) == (False, True, 0)
    assert network == any(text.startswith("network") for text in refused)
