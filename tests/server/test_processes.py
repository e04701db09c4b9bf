"""Children that die with their parent, logs of one line an event, and programs that are started again."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from server.running import processes
from server.running.logs import close_log, open_log, parse_line, turn_over
from server.running.service import LONGEST_PAUSE_S, STEADY_S, Pauses, Service, run_program
from tests.server.running import wait_for
from tinytrain_core.errors import FleetError

SLEEPS = [sys.executable, "-c", "import time; print('INFO : ready', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
PARENT = """
import os, sys, time
from pathlib import Path
from server.running.processes import launch
child = launch({command!r}, os.environ, Path("."))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def log(tmp_path: Path) -> logging.Logger:
    return open_log(tmp_path / "logs", "up")


def events(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def service(tmp_path: Path, log: logging.Logger, command: list[str]) -> Service:
    return Service("program", command, dict(os.environ), tmp_path, log)


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = PARENT.format(command=SLEEPS)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        child = wait_for("a child", lambda: processes.identify(pid))
        wait_for("the program", lambda: "time.sleep" in " ".join(processes.command_line(child.pid)))
        parent.kill()
        wait_for("the child's end", lambda: not processes.is_alive(child))


def test_a_process_that_has_ended_is_not_taken_for_one_that_runs(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEPS, stdout=subprocess.DEVNULL) as process:
        identity = processes.identify(process.pid)
        assert identity
        processes.note(tmp_path / "one.json", identity)
        assert processes.noted(tmp_path / "one.json") == identity
        process.kill()
        wait_for("a zombie", lambda: processes.identify(process.pid) is None)
    assert processes.noted(tmp_path / "one.json") is None
    mine = processes.identify(os.getpid())
    assert mine
    before_restart = processes.Identity(mine.pid, mine.started, "another start of the machine")
    processes.note(tmp_path / "one.json", before_restart)
    assert processes.noted(tmp_path / "one.json") is None
    (tmp_path / "one.json").write_text("{")
    assert processes.noted(tmp_path / "one.json") is None


def test_a_program_is_started_again_and_its_output_is_kept(tmp_path: Path, log: logging.Logger) -> None:
    seen: list[str] = []
    program = service(tmp_path, log, SLEEPS)
    program.on_line = seen.append
    program.tick()
    first = program.identity
    assert first
    assert processes.noted(program.identity_file) == first
    wait_for("its output", lambda: seen == ["ready"])
    os.kill(first.pid, signal.SIGKILL)
    wait_for("another", lambda: (program.tick(), program.identity != first and program.identity)[1])
    program.stop()
    assert program.identity is None
    assert not program.identity_file.exists()
    assert any("was killed by signal 9" in event["text"] for event in events(tmp_path / "logs" / "up.jsonl"))
    assert events(tmp_path / "logs" / "program.jsonl")[0]["level"] == "INFO"


def test_what_a_killed_supervisor_left_is_ended(tmp_path: Path, log: logging.Logger) -> None:
    with subprocess.Popen(SLEEPS, stdout=subprocess.DEVNULL) as left:
        identity = processes.identify(left.pid)
        assert identity
        program = service(tmp_path, log, SLEEPS)
        processes.note(program.identity_file, identity)
        program.clean_up()
        assert left.wait(timeout=10) == -signal.SIGTERM


def test_a_program_that_does_not_end_is_killed(tmp_path: Path, log: logging.Logger) -> None:
    seen: list[str] = []
    program = service(tmp_path, log, STUBBORN)
    program.on_line = seen.append
    program.tick()
    wait_for("its output", lambda: seen)
    program.stop(within_s=0.2)
    assert any("it was killed" in event["text"] for event in events(tmp_path / "logs" / "up.jsonl"))


def test_pauses_grow_and_are_forgiven() -> None:
    pauses = Pauses()
    assert [pauses.failed(0) for _ in range(4)] == [0.5, 1, 2, 4]
    assert all(pauses.failed(0) <= LONGEST_PAUSE_S for _ in range(100))
    assert pauses.failed(0, lasted_s=STEADY_S) == 0.5


def test_a_short_program_is_cut_off_when_the_server_stops(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(FleetError, match="failed"):
        run_program(SLEEPS, dict(os.environ), tmp_path, stop)
    said = run_program([sys.executable, "-c", "print('done')"], dict(os.environ), tmp_path, threading.Event())
    assert said == "done\n"


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ("\x1b[92mINFO \x1b[0m:      Starting Flower SuperLink\n", logging.INFO, "Starting Flower SuperLink"),
        ("\x1b[93mWARNING \x1b[0m:   look\n", logging.WARNING, "look"),
        ("2026-11-23T03:12:15.636Z INFO [uvicorn.error] Started\n", logging.INFO, "[uvicorn.error] Started"),
        ("Traceback (most recent call last):\n", logging.INFO, "Traceback (most recent call last):"),
    ],
)
def test_lines_of_flower_lose_colour_and_time(line: str, level: int, text: str) -> None:
    assert parse_line(line) == (level, text)


def test_a_log_of_another_is_put_aside_once_it_is_long(tmp_path: Path) -> None:
    file = tmp_path / "proxy.jsonl"
    with file.open("ab") as writer:
        for number in range(3):
            writer.write(b"x" * 100)
            writer.flush()
            assert turn_over(file, most=50, kept=2)
            writer.write(str(number).encode())
            writer.flush()
            assert file.read_bytes() == str(number).encode()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["proxy.jsonl", "proxy.jsonl.1", "proxy.jsonl.2"]
    assert not turn_over(file, most=50)


def test_an_error_is_one_line_with_its_cause(tmp_path: Path, log: logging.Logger) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed")
    close_log(log)
    (event,) = events(tmp_path / "logs" / "up.jsonl")
    assert (event["process"], event["level"], event["text"]) == ("up", "ERROR", "it failed")
    assert "ValueError: two\nlines" in event["error"]
