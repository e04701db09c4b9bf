"""The process that keeps a node running: restarts, patience, silence, and an orderly end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.supervision.beats import ALIVE, BEAT_VARIABLE, CONTACT, WORKING
from client.supervision.logs import to_file_and_stderr
from client.supervision.patience import AT_ONCE, LONGEST_OFFLINE_S, LONGEST_WAIT_S, SETTLED_S, Patience, Watch
from client.supervision.supervisor import Supervisor

CHILD = """
import os, sys, time
with open(sys.argv[1], "a") as lives:
    lives.write(f"{os.getpid()}\\n")
print("plain words", file=sys.stderr, flush=True)
print('{"text": "in JSON"}', file=sys.stderr, flush=True)
"""


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert what()


def lives(file: Path) -> list[int]:
    return [int(text) for text in file.read_text(encoding="ascii").split()] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2] not in "ZX"
    except FileNotFoundError:
        return False


@contextmanager
def supervised(tmp_path: Path, script: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "client.supervision.supervisor",
        "--name",
        "gate-1",
        "--log",
        str(tmp_path / "node.log"),
    ]
    child = [sys.executable, "-c", CHILD + script, str(tmp_path / "lives")]
    with subprocess.Popen([*command, "--", *child], stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def said(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in (tmp_path / "node.log").read_text(encoding="utf-8").splitlines()]


def test_a_child_that_dies_is_started_again_and_its_words_are_kept(tmp_path: Path) -> None:
    with supervised(tmp_path, "sys.exit(3)") as process:
        until(lambda: len(lives(tmp_path / "lives")) == 2)
        process.terminate()
        assert process.wait(30) == 0
    messages = [entry["text"] for entry in said(tmp_path)]
    assert messages[:4] == ["the node has been started", "plain words", "in JSON", "the node has ended"]
    assert next(entry["code"] for entry in said(tmp_path) if entry["text"] == "the node has ended") == 3


def test_the_end_of_the_supervisor_is_that_of_the_child(tmp_path: Path) -> None:
    clean = "import signal; signal.signal(signal.SIGTERM, lambda *_: (print('bye', file=sys.stderr), sys.exit(0)))\n"
    with supervised(tmp_path, clean + "time.sleep(100)") as process:
        until(lambda: bool(lives(tmp_path / "lives")))
        time.sleep(0.3)  # until its handler is there
        process.terminate()
        assert process.wait(30) == 0
    assert not alive(lives(tmp_path / "lives")[0])
    assert "bye" in [entry["text"] for entry in said(tmp_path)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_a_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    script = (
        "from client.agent.confinement import die_with_parent; die_with_parent(int(sys.argv[-1]), 15); time.sleep(100)"
    )
    with supervised(tmp_path, script) as process:
        until(lambda: (tmp_path / "node.log").exists() and bool(lives(tmp_path / "lives")))
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
    until(lambda: not alive(lives(tmp_path / "lives")[0]))


def beating(tmp_path: Path, script: str, watch: Watch) -> list[str]:
    """What a supervisor that looks closely says of a child, which it starts once."""
    body = f"fd = int(os.environ[{BEAT_VARIABLE!r}])\n" + script
    log = to_file_and_stderr(tmp_path / "node.log")
    command = [sys.executable, "-c", CHILD + body, str(tmp_path / "lives")]
    Supervisor("gate-1", command, log, watch).run(once=True)
    for handler in log.handlers:
        handler.close()
    return [str(entry["text"]) for entry in said(tmp_path)]


def test_a_child_that_does_not_move_is_ended(tmp_path: Path) -> None:
    found = beating(tmp_path, "time.sleep(100)", Watch(still_s=1.0))
    assert any("has not moved" in message for message in found)


def test_a_child_that_lives_and_reaches_nobody_is_ended(tmp_path: Path) -> None:
    script = "while True:\n    os.write(fd, b'a')\n    time.sleep(0.1)"
    found = beating(tmp_path, script, Watch(offline_s=1.0))
    assert any("has not reached the server" in message for message in found)


def test_a_child_at_work_may_be_offline_and_contact_counts() -> None:
    watch = Watch()
    watch.started(0.0)
    watch.heard(WORKING, 80.0)
    assert not watch.complaint(100.0)
    watch.heard(ALIVE, 100.0)
    assert "not reached" in watch.complaint(100.5)
    watch.started(101.0)
    watch.heard(ALIVE, 195.0)
    assert not watch.complaint(200.0)  # twice as long after the first time
    watch.heard(CONTACT + ALIVE, 201.0)
    watch.heard(ALIVE, 290.0)
    assert not watch.complaint(290.0)
    watch.heard(ALIVE, 292.0)
    assert "not reached" in watch.complaint(292.0)  # as long as at first, after a contact
    for _ in range(20):
        watch.complaint(1e6)
    assert watch.offline_s <= LONGEST_OFFLINE_S


@given(st.text(min_size=1), st.lists(st.floats(0, 2 * SETTLED_S), max_size=30))
def test_waits_are_bounded_and_grow_with_deaths_at_once(name: str, lived: list[float]) -> None:
    patience = Patience(name)
    for seconds in lived:
        wait_s = patience.wait_s(seconds)
        assert 0.5 <= wait_s <= 1.25 * LONGEST_WAIT_S
        assert (patience.deaths == 0) == (seconds >= SETTLED_S)
        if patience.deaths >= AT_ONCE:
            assert wait_s >= LONGEST_WAIT_S


def test_the_devices_of_a_fleet_do_not_wait_alike() -> None:
    waits = {Patience(f"node-{number}").wait_s(0.0) for number in range(50)}
    assert len(waits) == 50
    assert Patience("node-1").wait_s(0.0) == Patience("node-1").wait_s(0.0)
