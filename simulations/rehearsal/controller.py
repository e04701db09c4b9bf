"""The fleet's own controller on virtual time: what it does is unchanged, but for questions that would tell it nothing.

A real controller asks every node once in ten minutes what it has, and holds a question to one at work for a minute at a
time. A node that has nothing to say is not asked here, and one at work is asked once, for as long as its order has; it
answers as soon as there is news, as a real one does. What the questions that are left out would have weighed is
counted; nothing else changes, as none of their answers would say anything new.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from math import inf

from server.fleet.config import FleetConfig
from server.fleet.controller import Controller
from server.fleet.conversation import Talk
from server.fleet.courier import Courier, Reply, Times, ToAcknowledge
from server.fleet.nodes import Node
from server.fleet.rollout.state import Progress, RolloutState, Step
from server.fleet.supply import Supply
from server.releases.registry import Registry
from simulations.clock import VirtualClock
from simulations.rehearsal.link import SimulatedLink
from tinytrain_core.orders import MAX_HOLD_S

_ORDERED, _WAITING = Step.ORDERED, Step.WAITING  # Enum's own look-up is slow, and there are many nodes


class QuietCourier(Courier):
    """A courier that leaves out what would bring nothing."""

    def __init__(self, link: SimulatedLink, supply: Supply, hold_s: float) -> None:
        super().__init__(link, supply, hold_s)
        self._nodes = link
        self._rollout: RolloutState | None = None
        self._awake: dict[str, Talk] = {}  # all in which there may be something to say; an answer wakes the others

    def know(self, nodes: Iterable[Node]) -> None:
        super().know(nodes)
        self._awake = dict(self.talks)

    def replies(self) -> list[Reply]:
        found = super().replies()
        self._awake |= {reply.name: self.talks[reply.name] for reply in found}
        return found

    def _appear(self, changed: Iterable[int], found: frozenset[int], steady_s: float) -> None:
        super()._appear(changed, found, steady_s)
        names = (name for number in sorted(changed) if (name := self._names.get(number)) is not None)
        self._awake |= {name: self.talks[name] for name in names}

    def _give_up(self, steady_s: float) -> None:
        super()._give_up(steady_s)
        self._awake = dict(self.talks)

    def send(self, rollout: RolloutState | None, times: Times, to_acknowledge: ToAcknowledge) -> None:
        """As a courier sends, once it is known who has nothing to say."""
        self._awake |= self._ordered_anew(rollout)
        self._rollout = rollout
        self._awake = dict(self._lively())
        everybody, self.talks = self.talks, self._awake
        try:
            super().send(rollout, times, to_acknowledge)
        finally:
            self.talks = everybody

    def _ordered_anew(self, rollout: RolloutState | None) -> dict[str, Talk]:
        """The conversations with those whose order has changed since the last pass."""
        old, new = (state.nodes if state else {} for state in (self._rollout, rollout))
        if new is old:
            return {}
        ordered = (name for name, node in new.items() if node.step is _ORDERED and old.get(name) is not node)
        return {name: self.talks[name] for name in ordered if name in self.talks}

    def _lively(self) -> Iterator[tuple[str, Talk]]:
        """The conversations in which there may be something to say; nothing is due to the others."""
        nodes = self.rollout.nodes
        for name, talk in self._awake.items():
            if talk.sent is not None:
                continue
            if talk.sync_s != inf and not self._nodes.busy(self._ids[name]):
                talk.sync_s = inf
            if talk.sync_s != inf or talk.busy or ((node := nodes.get(name)) is not None and node.step is _ORDERED):
                yield name, talk

    def _ask(self, name: str, digest: str, hold_s: float, times: Times, stored: list[int]) -> None:
        node = self._rollout.nodes.get(name) if self._rollout else None
        if hold_s and node is not None:
            hold_s = min(max(node.deadline_s - times.now_s, hold_s), MAX_HOLD_S)
        super()._ask(name, digest, hold_s, times, stored)

    def next_s(self, steady_s: float) -> float:
        """When there is next something to send, by the clock that never jumps; infinite where there is nothing."""
        found = inf
        for name, talk in self._awake.items():
            if not talk.present or talk.sent is not None:
                continue
            if talk.busy or self._has_order(name):
                found = min(found, talk.next_s)
            elif talk.sync_s < found:
                found = min(found, max(talk.next_s, talk.sync_s))
        return max(found, steady_s)

    def _has_order(self, name: str) -> bool:
        """Whether a node has an order of which something is to be sent or heard."""
        node = self._rollout.nodes.get(name) if self._rollout else None
        return node is not None and node.step is _ORDERED and (node.accepted or self.rollout.orders(node))

    @property
    def awaits(self) -> bool:
        """Whether it matters that somebody who is away comes back."""
        return any(
            talk.busy or self._has_order(name) or self._is_due(name)
            for name, talk in self.talks.items()
            if not talk.present and talk.sent is None
        )

    def _is_due(self, name: str) -> bool:
        """Whether a node would be ordered, were it there."""
        node = self._rollout.nodes.get(name) if self._rollout else None
        return node is not None and node.step is _WAITING and self.rollout.orders(node)

    @property
    def rollout(self) -> RolloutState:
        """The rollout of the last pass."""
        assert self._rollout is not None, "a rehearsal begins with a rollout"
        return self._rollout


def _of_node(node: Progress, state: RolloutState) -> tuple[float, ...]:
    """When time changes where a node stands that waits."""
    if not state.orders(node):
        return ()
    gone_s = node.not_before_s + state.spec.deadline_of(node.stage) if node.tries else inf
    return (node.not_before_s, gone_s)


def next_of_rollout(state: RolloutState, now_s: float) -> float:
    """When time alone next changes anything in a rollout: a deadline, the end of a pause or of a soak."""
    times = [state.began_s + state.spec.deadline_of(stage) for stage in range(len(state.spec.stages))]
    if state.ripe_s is not None:
        times.append(state.ripe_s + state.spec.stages[state.stage].soak_s)
    for node in state.nodes.values():
        if node.step is _ORDERED:
            times.append(node.deadline_s)
        elif node.step is _WAITING and (node.tries or node.not_before_s > now_s):
            times.extend(_of_node(node, state))
    return min((at_s for at_s in times if at_s > now_s), default=inf)


class RehearsedController(Controller):
    """The fleet's controller, which also says when it has something to do. Its database is not for long."""

    def __init__(self, config: FleetConfig, link: SimulatedLink, clock: VirtualClock, registry: Registry) -> None:
        super().__init__(config, link, clock, registry, "rehearsal")
        self._nodes_link, self._moved = link, True
        self._quiet = QuietCourier(link, self._supply, config.hold_s)
        self._courier = self._quiet
        self._database.connection.execute("PRAGMA synchronous = OFF")

    @property
    def connection(self) -> sqlite3.Connection:
        """To its database; nobody else writes there."""
        return self._database.connection

    @property
    def rollout(self) -> RolloutState:
        """The rollout as it stands."""
        assert self._rollout is not None, "a rehearsal begins with a rollout"
        return self._rollout

    def step(self) -> None:
        """One pass; where the rollout enters another phase, held questions are answered as soon as real ones would."""
        before = self._rollout
        super().step()
        self._moved = before != self._rollout
        if before is not None and before.phase is not self.rollout.phase:
            self._nodes_link.shorten(self._clock.now_s())

    @property
    def awaits(self) -> bool:
        """Whether it matters that somebody who is away comes back."""
        return self._quiet.awaits

    def next_s(self) -> float:
        """When a pass next does anything, if no answer comes before and nobody appears; infinite for never."""
        now_s, steady_s = self._clock.now_s(), self._clock.monotonic_s()
        if self._moved:
            return now_s
        sends_s = now_s - steady_s + self._quiet.next_s(steady_s)
        return min(sends_s, next_of_rollout(self.rollout, now_s))
