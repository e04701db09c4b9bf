"""Drives a rehearsal: pass after pass of the fleet's own controller, each when there is something for it to do.

Nothing waits in real time but for what is computed: the virtual clock jumps to the next answer, the next presence or
absence of a node, or the next deadline.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from pathlib import Path

from client.agent.work import Starter
from client.config import NodeConfig
from server.fleet.rollout.spec import RolloutSpec
from server.fleet.rollout.state import Phase, RolloutState
from simulations.clock import VirtualClock
from simulations.executors.executor import Executor
from simulations.rehearsal.computing import Computing
from simulations.rehearsal.controller import RehearsedController
from simulations.rehearsal.earlier import Earlier
from simulations.rehearsal.folder import RehearsedFleet, Releases, begin, make_fleet
from simulations.rehearsal.link import SimulatedLink
from simulations.rehearsal.node import SimulatedAgent, using
from simulations.rehearsal.world import RehearsedWorld

PASS_S = 5.0
PRESENCE_S = 60.0  # between two looks at who is there, at least, where nothing else happens
UNTIL_H = 14 * 24.0
HOUR_S = 3_600.0
QUIET = ("client", "tinytrain.controller")  # what devices and the controller would log is in the results


class End(StrEnum):
    """How a rehearsal ends."""

    COMPLETED = "completed"
    ROLLED_BACK = "rolled back"
    HALTED = "halted"  # it waits for the operator
    PAUSED = "paused"  # as it does where the release cannot be sent
    STUCK = "stuck"  # nothing more can happen
    UNFINISHED = "unfinished"  # the time to look at is over


_ENDS = {
    Phase.COMPLETED: End.COMPLETED,
    Phase.ROLLED_BACK: End.ROLLED_BACK,
    Phase.HALTED: End.HALTED,
    Phase.PAUSED: End.PAUSED,
}
OnPass = Callable[[RolloutState, float], None]


@dataclass(frozen=True)
class Pace:
    """Virtual time: the least between two passes of the controller, in seconds, and the most in all, in hours."""

    pass_s: float = PASS_S
    until_h: float = UNTIL_H


@dataclass(frozen=True)
class Rehearsal:
    """What came of it.

    Attributes:
        began_s, ended_s: virtual seconds since 1970.
        passes: of the controller. computed, recalled: reports that were computed now, and that were known before.
    """

    end: End
    rollout: RolloutState
    began_s: float
    ended_s: float
    passes: int
    computed: int
    recalled: int
    fleet: RehearsedFleet
    link: SimulatedLink
    nodes: Sequence[NodeConfig]


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _agent(
    fleet: RehearsedFleet, checked: dict[str, bytes], partition: int, node: NodeConfig, start: Starter
) -> SimulatedAgent:
    make = partial(SimulatedAgent, node, fleet.trust, start, f"node {partition}", checked=checked)
    if fleet.in_use is None:
        return make()
    manifest, data = fleet.in_use
    return make(standing=using(manifest), held={manifest.digest: data})


class _Drive:
    """The controller and the clock, between two passes."""

    def __init__(
        self, controller: RehearsedController, link: SimulatedLink, clock: VirtualClock, world: RehearsedWorld
    ) -> None:
        self._controller, self._link, self._clock, self._world = controller, link, clock, world
        self._next_s, self.passes = clock.now_s(), 0
        clock.watch(lambda: self._next_s)

    def run(self, pace: Pace, on_pass: OnPass) -> End:
        """Pass after pass, until it has ended."""
        stop_s = self._clock.now_s() + pace.until_h * HOUR_S
        while True:
            self._controller.step()
            self.passes += 1
            on_pass(self._controller.rollout, self._clock.now_s())
            if end := _ENDS.get(self._controller.rollout.phase):
                self._controller.step()  # which tells the registry of it
                return end
            self._next_s = self._upcoming_s(pace.pass_s, stop_s)
            if self._next_s == inf or self._next_s > stop_s:
                return End.STUCK if self._next_s == inf else End.UNFINISHED
            self._clock.sleep(pace.pass_s)

    def _upcoming_s(self, pass_s: float, stop_s: float) -> float:
        """When the next pass is due; infinite where nothing can happen any more."""
        now_s = self._clock.now_s()
        soonest_s, due_s = now_s + pass_s, self._controller.next_s()
        change_s = self._world.next_change_s(now_s)
        if change_s is not None and self._controller.awaits:
            due_s = min(due_s, max(change_s, now_s + PRESENCE_S))
        answer_s = self._link.first_s(soonest_s, min(max(due_s, soonest_s), stop_s))
        return max(soonest_s, min(due_s, answer_s))


def rehearse(
    spec: RolloutSpec,
    nodes: Sequence[NodeConfig],
    world: RehearsedWorld,
    releases: Releases,
    executor: Executor,
    out: Path,
    pace: Pace = Pace(),
    fresh: bool = False,
    on_pass: OnPass = lambda state, now_s: None,
) -> Rehearsal:
    """Rehearse a rollout on a simulated fleet; the same arguments give the same rehearsal.

    Args:
        nodes: in the order of their partition ids.
        executor: entered, and made for `work.personalise`.
        out: a folder for the fleet's files and for what was computed.
        fresh: compute everything again.
        on_pass: told of the rollout after each pass, with the virtual time in seconds since 1970.

    Raises:
        ConfigurationError: the rollout cannot begin, as `tinytrain-server rollout start` would say.
        BackboneError: a backbone is damaged.
        StorageError: the folder cannot be written.
        FleetError: nothing can be computed any more.
    """
    clock = VirtualClock()
    began_s = clock.now_s()
    fleet = make_fleet(out, spec, releases, nodes, began_s)
    rollout = begin(fleet, spec, began_s)
    with _quiet(), Computing(executor, out, fresh) as computing:
        for version in fleet.registry.versions():
            digest = fleet.registry.release(version).manifest.digest
            computing.publish(digest, fleet.registry.file(digest))
        link = SimulatedLink(nodes, world, clock, computing, partial(_agent, fleet, {}), fleet.config.hold_s)
        controller = RehearsedController(fleet.config, link, clock, fleet.registry)
        with controller:
            if fleet.in_use is not None and spec.gates.max_drop is not None:
                manifest, request = fleet.in_use[0], spec.training.request(fleet.in_use[0].digest, rollout.number)
                link.workshop.earlier = Earlier(computing, controller.connection, request, manifest.version, began_s)
            drive = _Drive(controller, link, clock, world)
            end = drive.run(pace, on_pass)
            rollout = controller.rollout
    counts = drive.passes, computing.computed, computing.recalled
    return Rehearsal(end, rollout, began_s, clock.now_s(), *counts, fleet, link, nodes)
