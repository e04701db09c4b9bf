"""A node's one loop: the devices go on whether or not the server is there, and questions may be held open.

A message is taken, its order written down, and answered when there is news or its `hold_s` is over. Reports stay in
the outbox until a later message names them, so that an answer that gets lost costs nothing.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from client.agent.config import AgentConfig
from client.agent.respondent import Respondent
from client.connection.messages import Connection, Incoming, OfflineError, RefusedError, RunEndedError
from tinytrain_core.configuration import problems
from tinytrain_core.errors import EgressError, ErrorCode, RequestError, StorageError
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER, OrderRequest, SyncRequest

log = logging.getLogger(__name__)

Request = TypeVar("Request", bound=SyncRequest)

TICK_S = 0.5
LONGEST_BACKOFF_S = 60.0
LIVELY_S = 30.0  # after a message the server is likely to send another
MAX_HELD = 50
MAX_TAKEN = 10  # messages between two looks at the devices
TTL_MARGIN_S = 10.0


@dataclass(frozen=True)
class Held:
    """A message that waits for its answer: until `until` by the monotonic clock."""

    incoming: Incoming
    digest: str
    refused: ErrorCode
    until: float


def _request(model: type[Request], fields: Mapping[str, Any]) -> Request:
    """The request that a message's fields are.

    Raises:
        RequestError: they are not one.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise RequestError(f"not a {model.__name__}: {problems(error, most=5)}") from None


def signs_of_life_s(config: AgentConfig) -> float:
    """Within how many seconds a node promises the server a sign of life."""
    return max(30.0, 2 * config.idle_poll_s)


class NodeLoop:
    """The loop's state between two steps.

    Args:
        known_id: the node's number at the SuperLink, if it has one; keep_id: writes it down.
        contact: told of every successful exchange; trouble: told why there is none.
    """

    def __init__(
        self,
        agent: Respondent,
        connection: Connection,
        config: AgentConfig,
        known_id: int | None = None,
        keep_id: Callable[[int | None], None] = lambda _: None,
        contact: Callable[[], None] = lambda: None,
        trouble: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        self.agent = agent
        self._connection, self._config = connection, config
        self._id, self._keep_id = known_id, keep_id
        self._contact, self._trouble = contact, trouble
        self._held: list[Held] = []
        self._online = False
        self._failures = 0
        self._next_talk = self._next_sign = 0.0
        self._last_message = -LIVELY_S

    def step(self) -> float:
        """Do what there is to do, and say in how many seconds there will be more."""
        self.agent.tick(time.time())
        if time.monotonic() >= self._next_talk:
            self._talk()
        return max(0.0, min(TICK_S, self._next_talk - time.monotonic()))

    def idle(self) -> bool:
        """Whether everything is done and said, as far as is known."""
        return self._online and not self._held and not self.agent.busy()

    def _talk(self) -> None:
        try:
            self._come_online()
            self._take_messages()
            self._answer()
        except OfflineError as error:
            self._lost(error)
        except RefusedError as error:
            if self._id is not None:
                self._id = None
                self._keep_id(None)
            self._lost(error)
        else:
            self._failures = 0
            self._contact()
            self._next_talk = time.monotonic() + self._poll_s() * random.uniform(0.9, 1.1)

    def _poll_s(self) -> float:
        lively = self._held or self.agent.busy() or time.monotonic() - self._last_message < LIVELY_S
        return self._config.poll_s if lively else max(self._config.poll_s, self._config.idle_poll_s)

    def _lost(self, error: Exception) -> None:
        self._online = False
        self._failures += 1
        self._trouble(error)
        wait_s = min(2.0 ** min(self._failures - 1, 10), LONGEST_BACKOFF_S) * random.uniform(0.5, 1.0)
        self._next_talk = time.monotonic() + wait_s

    def _come_online(self) -> None:
        now = time.monotonic()
        if not self._online:
            node_id = self._connection.open(self._id)
            if node_id != self._id:
                self._id = node_id
                self._keep_id(node_id)
            log.info("online as node %d", node_id)
            self._online = True
        elif now >= self._next_sign:
            self._connection.beat()
        else:
            return
        self._next_sign = now + signs_of_life_s(self._config) * random.uniform(0.7, 0.9)

    def _take_messages(self) -> None:
        for _ in range(MAX_TAKEN):
            incoming = self._connection.receive()
            if incoming is None:
                return
            self._last_message = time.monotonic()
            self._held.append(self._taken(incoming))

    def _taken(self, incoming: Incoming) -> Held:
        """What a message has done, and until when its answer may wait."""
        now = time.monotonic()
        try:
            if incoming.fields is None:
                raise RequestError(f"a message of type {incoming.kind!r:.80} is not for this node")
            request: SyncRequest
            if incoming.kind == TRAIN_ORDER:
                request = order = _request(OrderRequest, incoming.fields)
                refused = self.agent.order(order, incoming.backbone, time.time())
            elif incoming.kind == QUERY_SYNC:
                request = _request(SyncRequest, incoming.fields)
                refused = self.agent.sync(request)
            else:
                raise RequestError(f"a message of type {incoming.kind!r:.80} is not for this node")
        except RequestError as error:
            log.error("a message is refused: %s", error)
            return Held(incoming, "", error.code, now)
        patience = incoming.expires_s - TTL_MARGIN_S - time.time()
        hold_s = 0.0 if refused else min(request.hold_s, patience)
        kept = replace(incoming, backbone=None)  # megabytes that are in the store by now
        return Held(kept, request.digest or _digest_of(request), refused, now + hold_s)

    def _answer(self, everything: bool = False) -> None:
        """Answer what need not wait, the oldest first."""
        news, now = self.agent.news(), time.monotonic()
        surplus = len(self._held) - MAX_HELD
        for position, held in enumerate(list(self._held)):
            if everything or news or now >= held.until or position < surplus:
                self._reply(held)
                self._held.remove(held)

    def _reply(self, held: Held) -> None:
        try:
            answer = self.agent.answer(held.digest, held.refused, time.time())
            self._connection.reply(held.incoming, answer)
        except RunEndedError:
            log.info("nobody waits any more for the answer to a message; its reports stay")
        except RefusedError as error:
            log.error("an answer is refused: %s", error)
        except EgressError as error:
            log.error("an answer is not sent: %s", error)

    def close(self) -> None:
        """Answer what is held, end what runs, and leave."""
        try:
            if self._online:
                self._answer(everything=True)
        except OfflineError as error:
            log.info("%d questions stay without an answer: %s", len(self._held), error)
        try:
            self.agent.stop()
        except StorageError as error:
            log.error("%s", error)
        self._connection.close()


def _digest_of(request: SyncRequest) -> str:
    return request.request().digest if isinstance(request, OrderRequest) else ""
