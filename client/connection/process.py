"""The node: `python -m client.connection.process agent.yaml`, kept alive by the supervisor and never by itself.

Its parent hears from it through a pipe: that it is alive, that a worker is at work, that the server was reached.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from client.agent.agent import Agent, load_trust, state_file
from client.agent.config import AgentConfig, load_agent_config
from client.agent.confinement import die_with_parent
from client.agent.respondent import Respondent, Unable
from client.agent.state import AgentState
from client.agent.work import Work, WorkerProcess
from client.agent.worker import Job
from client.config import NodeConfig, load_node_config
from client.connection import diagnosis
from client.connection.identity import load_identity
from client.connection.link import Link
from client.connection.loop import NodeLoop, signs_of_life_s
from client.connection.messages import OfflineError, RefusedError
from client.connection.pace import Meanwhile, StoppedError
from client.supervision.beats import ALIVE, BEAT_VARIABLE, CONTACT, CONTACT_FILE, WORKING
from client.supervision.logs import to_stderr
from tinytrain_core.errors import StorageError, TinyTrainError
from tinytrain_core.files import InUseError, exclusive
from tinytrain_core.release import Trust

log = logging.getLogger(__name__)

REOPEN_S = 60.0
SAME_TROUBLE_S = 600.0
LOOK_AGAIN_S = 10.0  # finding out takes connections of its own
CONTACT_EVERY_S = 60.0
WORKER_LOG = "worker.log"


@dataclass
class Pulse:
    """What the supervisor is told, a byte at a time; to nobody where there is none."""

    pipe: int | None
    contact_file: Path
    _told: float = field(default=-CONTACT_EVERY_S)

    def tell(self, what: bytes) -> None:
        """Tell it; a pipe that is full has been told enough."""
        if self.pipe is not None:
            with suppress(OSError):
                os.write(self.pipe, what)

    def contact(self) -> None:
        """The server was reached."""
        self.tell(CONTACT)
        if time.monotonic() - self._told >= CONTACT_EVERY_S:
            with suppress(OSError):
                self.contact_file.touch()
            self._told = time.monotonic()


@dataclass
class Trouble:
    """Says why the server cannot be reached: once, and again when that changes or has lasted."""

    config: AgentConfig
    meanwhile: Meanwhile
    _said: str = ""
    _when: float = 0.0
    _look_again: float = 0.0

    def __call__(self, error: Exception) -> None:
        if time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + LOOK_AGAIN_S
        status = error.status if isinstance(error, (OfflineError, RefusedError)) else None
        try:
            finding = diagnosis.diagnose(*self.config.address, self.config.ca, time.time(), status, self.meanwhile)
        except StoppedError:
            return
        if finding.text != self._said or time.monotonic() - self._when > SAME_TROUBLE_S:
            log.error("no contact: %s (%s)", finding.text, error)
            self._said, self._when = finding.text, time.monotonic()


@dataclass
class Node:
    """A node's parts, put together."""

    config: AgentConfig
    node: NodeConfig
    trust: Trust
    state: AgentState | None = None

    def agent(self) -> Respondent:
        """The agent; one that refuses every order where its state cannot be opened."""
        try:
            return self._opened()
        except StorageError as error:
            log.error("no order can be taken: %s", error)
            return Unable(self.node, error.code)

    def _opened(self) -> Agent:
        """The agent with its state, which is closed again where it cannot be used.

        Raises:
            StorageError: it cannot be opened, read or written.
        """
        numbers = [device.number for device in self.node.devices]
        with ExitStack() as unless_used:
            state = AgentState(state_file(self.config, self.node), numbers, self.config.outbox.max_reports)
            unless_used.callback(state.close)
            state.note(restarts=int(state.fact("restarts", "-1")) + 1)
            agent = Agent(self.config, self.node, self.trust, state, self._start)
            unless_used.pop_all()
        self.state = state
        return agent

    def _start(self, job: Job) -> Work:
        job = job.model_copy(update={"parent": os.getpid()})
        return WorkerProcess.start(job, self.node.store / WORKER_LOG)

    def known_id(self) -> int | None:
        """The node's number, if it was ever told."""
        known = self.state.fact("node_id", "") if self.state else ""
        return int(known) if known else None

    def keep_id(self, node_id: int | None) -> None:
        """Write its number down."""
        if self.state is not None:
            with suppress(StorageError):
                self.state.note(node_id="" if node_id is None else node_id)


def run(config: AgentConfig, pulse: Pulse, stopped: Callable[[], bool], once: bool = False) -> None:
    """Run a node until it is told to stop, or with `once` until there is nothing to do.

    Raises:
        TinyTrainError: its files are wrong, or another process has its state.
    """
    node = Node(config, load_node_config(config.node), load_trust(config.trust))

    def turn() -> None:
        loop.tick()
        pulse.tell(WORKING if loop.agent.working() else ALIVE)

    meanwhile = Meanwhile(turn, stopped, pulse.contact)
    link = Link(config.server, config.ca, load_identity(config.key), signs_of_life_s(config), meanwhile)
    agent = node.agent()
    loop = NodeLoop(agent, link, config, node.known_id(), node.keep_id, pulse.contact, Trouble(config, meanwhile))
    reopen = time.monotonic() + REOPEN_S
    try:
        while not stopped():
            pause = loop.step()
            pulse.tell(WORKING if loop.agent.working() else ALIVE)
            if isinstance(loop.agent, Unable) and time.monotonic() > reopen:
                loop.agent, reopen = node.agent(), time.monotonic() + REOPEN_S
            if once and loop.idle():
                return
            time.sleep(pause)
    finally:
        loop.close()
        if node.state is not None:
            node.state.close()


def _pulse(store: Path) -> Pulse:
    pipe = os.environ.pop(BEAT_VARIABLE, "")
    if not pipe:
        return Pulse(None, store / CONTACT_FILE)
    os.set_blocking(int(pipe), False)
    os.set_inheritable(int(pipe), False)
    return Pulse(int(pipe), store / CONTACT_FILE)


def main() -> None:
    """Run a node as a process."""
    parser = argparse.ArgumentParser(prog="client.connection.process")
    parser.add_argument("config", type=Path)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    if options.parent:
        die_with_parent(options.parent, signal.SIGTERM)
    to_stderr("node")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop.append(received))
    try:
        config = load_agent_config(options.config)
        store = load_node_config(config.node).store
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(store, wait_s=15.0))
            except InUseError:
                raise
            except StorageError as error:  # the server is told so, as long as it lasts
                log.error("%s", error)
            run(config, _pulse(store), lambda: bool(stop), options.once)
    except TinyTrainError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
