"""Drives the fleet: takes in what nodes say, lets the rollout decide, writes both down in one, and sends what follows.

Nothing that matters is anywhere but in the database. A controller that is killed at any point is followed by another
one that goes on: what was sent is sent again, which nodes recognise, and reports stay with a node until it is told that
they are stored.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence

from server.clock import Clock
from server.fleet.arrivals import to_acknowledge
from server.fleet.config import FleetConfig
from server.fleet.courier import Courier, Reply, Times
from server.fleet.database import Database
from server.fleet.intake import take
from server.fleet.link import Link
from server.fleet.nodes import Node, nodes
from server.fleet.rollout import events, machine, phases, store, targeting
from server.fleet.rollout.state import Decision, RolloutState
from server.fleet.rollout.store import Command, What
from server.fleet.supply import Supply
from server.releases.registry import Registry
from tinytrain_core.files import exclusive

JUMP_S = 30.0  # a clock that differs by more from the one that never jumps was set
AWAY_S = 60.0  # a controller that was not there for longer counts the time as if it had not passed
MOST_ACKNOWLEDGED = 2_000  # reports in one message
LOCK_WAIT_S = 20.0  # for a predecessor that is ending

log = logging.getLogger("tinytrain.controller")


class Controller:
    """The one controller of a fleet. Close it, or use it as a context manager.

    Args:
        registry: of the fleet's releases.
        run_id: of the run that it is in, for its sign of life.

    Raises:
        ConfigurationError: the fleet has no trust yet.
        StorageError: its database cannot be opened.
    """

    def __init__(self, config: FleetConfig, link: Link, clock: Clock, registry: Registry, run_id: str = "") -> None:
        self._config, self._clock, self._run_id = config, clock, run_id
        self._supply = Supply(registry, config.folder)
        self._courier = Courier(link, self._supply, config.hold_s)
        self._database = Database(config.database)
        self._change = -1
        self._nodes: dict[str, Node] = {}
        self._members: list[targeting.Member] = []
        self._joined: list[targeting.Member] | None = None  # those of them that the rollout has
        self._rollout: RolloutState | None = None
        self._last: Times | None = None

    def __enter__(self) -> "Controller":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def run(self, stop: Callable[[], bool]) -> None:
        """Pass after pass, until `stop` says so.

        Raises:
            StorageError: there is another controller, or the database cannot be read or written.
        """
        with exclusive(self._config.state / "controller", LOCK_WAIT_S):
            log.info("the controller of %s begins", self._config.folder)
            while not stop():
                self.step()
                self._clock.sleep(self._config.poll_s)

    def step(self) -> None:
        """One pass: read, decide, write, send. It may be killed at any point.

        Raises:
            StorageError: the database cannot be read or written; what is in it is whole.
        """
        times = Times(self._clock.now_s(), self._clock.monotonic_s())
        self._look()
        replies = self._courier.replies()
        online = self._courier.online(times.steady_s)
        withdrawn = self._supply.withdrawn() if replies else frozenset()
        with self._database.transaction() as connection:
            rollout, decisions = self._passed(connection, times)
            rollout = self._taken(connection, rollout, replies, times, withdrawn)
            if rollout is not None:
                rollout, more = self._decided(connection, rollout, times.now_s, online)
                decisions = (*decisions, *more)
                store.update_rollout(connection, self._rollout, rollout, times.now_s)
                store.record(connection, rollout.number, decisions, times.now_s)
        self._rollout, self._last, self._joined = rollout, times, self._members
        for decision in decisions:
            log.info("rollout: %s: %s", decision.what, decision.reason)
        self._courier.send(rollout, times, self._to_acknowledge)

    def _look(self) -> None:
        """Read what others have written: nodes that the operator added or removed, and rollouts."""
        change = self._database.change()
        if change == self._change:
            return
        found = nodes(self._database)
        self._nodes = {node.name: node for node in found}
        self._courier.know(found)
        number = store.latest_number(self._database)
        if number and (self._rollout is None or self._rollout.number != number):
            self._rollout = store.load_rollout(self._database, number)
            log.info("rollout %s is %s", self._rollout.spec.name, self._rollout.phase.value)
        self._members = targeting.members(self._rollout.spec, found) if self._rollout else []
        self._change = change

    def _taken(
        self,
        connection: sqlite3.Connection,
        rollout: RolloutState | None,
        replies: Sequence[Reply],
        times: Times,
        withdrawn: Collection[int],
    ) -> RolloutState | None:
        """The rollout when the replies are taken in, each of which is about its node alone."""
        parts: dict[str, RolloutState] = {}
        for reply in replies:
            node, talk = self._nodes[reply.name], self._courier.talks[reply.name]
            part = parts.get(node.name) or (rollout and events.alone(rollout, node.name))
            if taken := take(connection, part, node, talk, reply, times, withdrawn):
                parts[node.name] = taken
        return rollout and events.together(rollout, parts.values())

    def _to_acknowledge(self, name: str) -> list[int]:
        return to_acknowledge(self._database.connection, name, MOST_ACKNOWLEDGED)

    def _passed(self, connection: sqlite3.Connection, times: Times) -> tuple[RolloutState | None, tuple[Decision, ...]]:
        """The rollout, its times moved where this machine's clock was set or nobody was there; a sign of life."""
        jump_s = self._away_s(connection, times)
        connection.execute(
            "INSERT OR REPLACE INTO controller (one, run_id, pid, beat_s) VALUES (1, ?, ?, ?)",
            (self._run_id, os.getpid(), times.now_s),
        )
        if self._rollout is None or not jump_s:
            return self._rollout, ()
        text = f"{jump_s:+.0f} s: the clock was set, or there was no controller; all deadlines move with it"
        return events.shifted(self._rollout, jump_s), (Decision("time moved", text),)

    def _away_s(self, connection: sqlite3.Connection, times: Times) -> float:
        """Seconds that count as if they had not passed, and may be negative; 0 where there are none."""
        if self._last is not None:
            jump_s = (times.now_s - self._last.now_s) - (times.steady_s - self._last.steady_s)
            return jump_s if abs(jump_s) > JUMP_S else 0.0
        row = connection.execute("SELECT beat_s FROM controller").fetchone()
        began_s = self._rollout.began_s if self._rollout else 0.0
        gap_s = times.now_s - max(row["beat_s"] if row else 0.0, began_s)
        return gap_s if gap_s > AWAY_S or gap_s < -JUMP_S else 0.0

    def _decided(
        self, connection: sqlite3.Connection, rollout: RolloutState, now_s: float, online: Collection[str]
    ) -> phases.Result:
        """What the operator says, who is in the fleet, what there is to send, and what the rollout makes of it all."""
        decisions: list[Decision] = []

        def note(result: phases.Result) -> RolloutState:
            decisions.extend(result[1])
            return result[0]

        commands = store.open_commands(self._database, rollout.number)
        for command in commands:
            rollout = note(heed(rollout, command, now_s))
        store.heeded(connection, commands, now_s)
        if self._members is not self._joined:
            rollout = events.left(rollout, rollout.nodes.keys() - {member.name for member in self._members})
            rollout = events.joined(rollout, self._members)
        if not rollout.filed and (told := self._supply.end(rollout)):
            rollout = note(phases.filed(rollout, told))
        if self._rollout is not None:
            decisions.extend(machine.given_up(self._rollout, rollout))
        rollout, looked_at = note(machine.advance(rollout, now_s, online)), None
        while rollout.sends and rollout.phase is not looked_at:  # a withdrawn release gives way to its roll-back order
            looked_at = rollout.phase
            rollout = note(phases.supplied(rollout, *self._supply.problem(rollout, now_s), now_s))
        return machine.ordered(rollout, now_s, online), tuple(decisions)


def heed(rollout: RolloutState, command: Command, now_s: float) -> phases.Result:
    """Do what the operator says."""
    if command.what is What.PAUSE:
        return phases.paused(rollout, command.reason, now_s)
    if command.what is What.RESUME:
        return phases.resumed(rollout, command.reason, now_s)
    return phases.aborted(rollout, command.reason, now_s, command.what is What.ROLL_BACK)
