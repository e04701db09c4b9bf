"""Sends what the rollout has decided: at most one message to a node at a time, and weights only where they lack."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from math import inf
from typing import NamedTuple

from server.fleet.conversation import LOST_PAUSE_S, SYNC_PERIOD_S, Due, Sent, Talk
from server.fleet.link import Link, Records
from server.fleet.nodes import Node
from server.fleet.rollout.state import FORWARD, RolloutState
from server.fleet.supply import UNUSABLE, Supply
from server.releases.signing import SignedRelease
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER, OrderRequest, SyncRequest

ANSWER_S = 120.0  # a message may take so much longer than it is held
TRANSFER_S = 900.0  # the same of one with a backbone
MAX_VALID_S = 31 * 86_400.0
LINK_GRACE_S = 180.0  # after which a link that was to tell of a message is no longer believed
URGENCY, NOTHING = tuple(Due), Due.NOTHING
MOST_SENT = 100  # messages in one pass, so that a pass stays short

log = logging.getLogger("tinytrain.controller")
ToAcknowledge = Callable[[str], list[int]]


class Times(NamedTuple):
    """The same moment in seconds since 1970, and of the clock that never jumps."""

    now_s: float
    steady_s: float


class Reply(NamedTuple):
    """What came back from a node: to which message, and its records; None where it was lost."""

    name: str
    sent: Sent
    records: Records | None


class Courier:
    """The conversations with all nodes.

    Args:
        hold_s: seconds that a node may hold a message open until it has news.
    """

    def __init__(self, link: Link, supply: Supply, hold_s: float) -> None:
        self._link, self._supply, self._hold_s = link, supply, hold_s
        self._ids: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._found: frozenset[int] = frozenset()  # those that could be reached last, the fleet's and others
        self._online: set[str] = set()
        self._supplied: tuple[Times, SignedRelease] | None = None
        self._lost_s = inf  # no message is believed lost before
        self.talks: dict[str, Talk] = {}

    def know(self, nodes: Iterable[Node]) -> None:
        """These are the nodes of the fleet."""
        self._ids = {node.name: node.node_id for node in nodes if node.node_id is not None}
        self._names = {number: name for name, number in self._ids.items()}
        self.talks = {name: self.talks.get(name) or Talk() for name in self._ids}
        self._found = frozenset(self._ids[name] for name, talk in self.talks.items() if talk.present)
        self._online = {self._names[number] for number in self._found}

    def online(self, steady_s: float) -> set[str]:
        """The names of the fleet's nodes that can be reached."""
        found = frozenset(self._link.online())
        if changed := found ^ self._found:
            self._appear(changed, found, steady_s)
        if steady_s > self._lost_s:
            self._give_up(steady_s)
        return self._online

    def _appear(self, changed: Iterable[int], found: frozenset[int], steady_s: float) -> None:
        """Some came, and some went."""
        for number in changed:
            if (name := self._names.get(number)) is not None:
                self.talks[name].appears(number in found, steady_s)
        self._found = found
        self._online = {name for name, number in self._ids.items() if number in found}

    def _give_up(self, steady_s: float) -> None:
        """What the link has not told of for too long is lost."""
        for talk in self.talks.values():
            if talk.sent is not None and steady_s > talk.sent.until_s:
                talk.lost(steady_s)
        self._lost_s = min((talk.sent.until_s for talk in self.talks.values() if talk.sent is not None), default=inf)

    def replies(self) -> list[Reply]:
        """What has come back; what nobody waits for is left out."""
        found = []
        for number, records in self._link.replies():
            name = self._names.get(number, "")
            if name and (sent := self.talks[name].sent):
                found.append(Reply(name, sent, records))
        return found

    def send(self, rollout: RolloutState | None, times: Times, to_acknowledge: ToAcknowledge) -> None:
        """Send each node what is due, orders first, and of the same kind to those first that waited longest."""
        for place, _, name in nsmallest(MOST_SENT, self._ready(rollout, times)):
            self.talks[name].told_s = times.steady_s
            stored = [*to_acknowledge(name), *self.talks[name].unwanted]
            try:
                if rollout and URGENCY[place] is Due.ORDER:
                    self._order(name, rollout, times, stored)
                else:
                    hold_s = self._hold_s if URGENCY[place] is Due.WATCH else 0.0
                    self._ask(name, _digest(rollout), hold_s, times, stored)
            except UNUSABLE as error:  # it was looked at before this pass, and has changed since
                log.error("no order for node %s: %s", name, error)
                self.talks[name].next_s = times.steady_s + LOST_PAUSE_S

    def _ready(self, rollout: RolloutState | None, times: Times) -> Iterator[tuple[int, float, str]]:
        """Whom something is due: its place in the order of urgency, the time of the last message, and the name."""
        for name, talk in self.talks.items():
            if not talk.speakable(times.steady_s):
                continue
            node = rollout.nodes.get(name) if rollout else None
            orders = bool(rollout and node and rollout.orders(node) and not rollout.blocked)
            if (due := talk.due(node, orders, times.steady_s)) is not NOTHING:
                yield URGENCY.index(due), talk.told_s, name

    def _order(self, name: str, rollout: RolloutState, times: Times, stored: list[int]) -> None:
        """The order; before it the question whether the node holds the weights, where that is not known."""
        node, talk = rollout.nodes[name], self.talks[name]
        release = self._release(rollout, times)
        digest = release.manifest.digest
        if digest not in talk.holds:
            self._ask(name, digest, 0.0, times, stored)
            return
        request = OrderRequest(
            digest=digest,
            acknowledged=stored,
            hold_s=self._hold_s,
            manifest=release.manifest_bytes.decode("ascii"),
            signatures=json.dumps(release.signatures),
            rollout=rollout.number,
            attempt=node.attempt,
            valid_s=min(max(node.deadline_s - times.now_s, 1.0), MAX_VALID_S),
            settings=rollout.spec.training.request(digest, rollout.number).model_dump_json(),
        )
        self._dispatch(name, request, None if talk.holds[digest] else self._supply.file(digest), times)

    def _release(self, rollout: RolloutState, times: Times) -> SignedRelease:
        """What is sent now, read once in a pass."""
        if self._supplied is None or self._supplied[0] is not times:
            self._supplied = times, self._supply.release(rollout, times.now_s)
        return self._supplied[1]

    def _ask(self, name: str, digest: str, hold_s: float, times: Times, stored: list[int]) -> None:
        self._dispatch(name, SyncRequest(digest=digest, acknowledged=stored, hold_s=hold_s), None, times)

    def _dispatch(self, name: str, request: SyncRequest, backbone: bytes | None, times: Times) -> None:
        ordered = isinstance(request, OrderRequest)
        ttl_s = request.hold_s + (TRANSFER_S if ordered else ANSWER_S)
        kind = TRAIN_ORDER if ordered else QUERY_SYNC
        talk, now_s = self.talks[name], times.steady_s
        if self._link.send(self._ids[name], kind, request, backbone, ttl_s) is None:
            talk.next_s = now_s + LOST_PAUSE_S
            return
        attempt = request.attempt if isinstance(request, OrderRequest) else 0
        talk.sync_s = now_s + SYNC_PERIOD_S
        talk.sent = Sent(now_s, now_s + ttl_s + LINK_GRACE_S, attempt, request.digest, tuple(request.acknowledged))
        self._lost_s = min(self._lost_s, talk.sent.until_s)


def _digest(rollout: RolloutState | None) -> str:
    """What a node is asked about beside what it is asked for."""
    return rollout.digest if rollout and rollout.phase in FORWARD else ""
