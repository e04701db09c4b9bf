"""What a worker's parent believes: reports of numbers about the device that it is at, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.agent.work import WorkerProcess
from tests.client.agents import NOW, manifest, open_device, order, outcomes, write_device
from tinytrain_core.errors import ErrorCode
from tinytrain_core.report import Outcome, failure


@dataclass
class Telling:
    """A worker that says what a test wants."""

    told: list[bytes]
    stopped: bool = False

    def lines(self) -> list[bytes]:
        told, self.told = self.told, []
        return told

    def ended(self) -> int | None:
        return 0

    def pause(self, paused: bool) -> None:
        raise AssertionError("it is over at once")

    def stop(self) -> None:
        self.stopped = True


def said(**changes: object) -> bytes:
    return json.dumps({"report": failure(ErrorCode.NONE, 11, 3).model_dump() | changes}).encode()


HOSTILE = {
    "text": b"SECRET",
    "an array": json.dumps([1.5] * 100).encode(),
    "a number": b"7",
    "nested for ever": b"[" * 100_000,
    "another key": json.dumps({"report": {}, "weights": [1.0]}).encode(),
    "a report with more": said(weights=[0.5]),
    "a report with text": said(loss_last="SECRET"),
    "not a number": said().replace(b'"loss_last": 0.0', b'"loss_last": NaN'),
    "another device": said(device=12),
    "not UTF-8": b"\xff\xfe",
    "too long": b'"' + b"x" * 200_000,
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_not_a_report_is_refused(line: bytes, tmp_path: Path, data: bytes) -> None:
    works = [Telling([line, said()])]
    device = open_device(write_device(tmp_path), lambda job: works[0])
    assert device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.NONE
    device.tick()
    assert outcomes(device) == {11: (Outcome.FAILED, ErrorCode.EGRESS)}
    assert works[0].stopped
    assert device.state.standing.in_use.version == 0
    device.state.close()


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    script = "import sys, time; sys.stdout.write('x' * 10_000_000); sys.stdout.flush(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    os.set_blocking(process.stdout.fileno(), False)
    work, lines = WorkerProcess(process), list[bytes]()
    deadline = time.monotonic() + 30
    while not lines and time.monotonic() < deadline:
        lines = work.lines()
    assert len(lines) == 1
    assert len(lines[0]) < 500_000
    assert process.returncode == -signal.SIGKILL
