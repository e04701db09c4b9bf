"""A node's one loop: the devices go on whether or not the server is there, and questions may be held open.

A message is taken, its order written down, and answered when there is news or its `hold_s` is over. Reports stay in
the outbox until a later message names them, so that an answer that gets lost costs nothing.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

from client.agent.config import AgentConfig
from client.agent.respondent import Respondent
from client.connection.messages import Connection, OfflineError, RefusedError, RunEndedError
from client.connection.pace import StoppedError
from client.connection.questions import Question, taken
from tinytrain_core.errors import EgressError, StorageError

log = logging.getLogger(__name__)

TICK_S = 0.5
LONGEST_BACKOFF_S = 60.0
LIVELY_S = 30.0  # after a message the server is likely to send another
MAX_HELD = 50
MAX_TAKEN = 10  # messages between two looks at the devices
MAX_FAILURES = 3  # of one answer; the reports in it are sent with another
FAILED_S = 5.0


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
        self._held: list[Question] = []
        self._asked_as: int | None = None
        self._online = False
        self._failures = 0
        self._next_talk = self._next_sign = 0.0
        self._last_message = -LIVELY_S

    def step(self) -> float:
        """Do what there is to do, and say in how many seconds there will be more."""
        self.tick()
        if time.monotonic() >= self._next_talk:
            self._talk()
        return max(0.0, min(TICK_S, self._next_talk - time.monotonic()))

    def tick(self) -> None:
        """Let the devices go on, also while the server keeps this waiting."""
        self.agent.tick(time.time())

    def idle(self) -> bool:
        """Whether everything is done and said, as far as is known."""
        return self._online and not self._held and not self.agent.busy()

    def _talk(self) -> None:
        try:
            self._come_online()
            self._take_messages()
            self._answer()
        except StoppedError:
            self._online = False
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
            if node_id != self._asked_as:
                self._held.clear()  # whoever asked has forgotten this node, and these questions with it
                self._asked_as = node_id
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
            self._held.append(taken(self.agent, incoming))

    def _answer(self, everything: bool = False) -> None:
        """Answer what need not wait, the oldest first; one that the server cannot take does not block the others."""
        news, now = self.agent.news(), time.monotonic()
        surplus = len(self._held) - MAX_HELD
        for position, question in enumerate(list(self._held)):
            due = news or now >= question.until or position < surplus
            if time.time() >= question.incoming.expires_s:
                log.info("an answer is too late; its reports stay")
                self._held.remove(question)
            elif everything or (due and now >= question.again):
                self._reply(question)

    def _reply(self, question: Question) -> None:
        """Answer a question, or put it off.

        Raises:
            OfflineError: the server cannot be reached.
        """
        place = self._held.index(question)
        del self._held[place]
        try:
            answer = self.agent.answer(question.digest, question.refused, time.time())
            self._connection.reply(question.incoming, answer)
        except RunEndedError:
            log.info("nobody waits any more for the answer to a message; its reports stay")
        except RefusedError as error:
            log.error("an answer is refused: %s", error)
        except EgressError as error:
            log.error("an answer is not sent: %s", error)
        except OfflineError as error:
            failures = question.failures + 1
            if failures < MAX_FAILURES:
                again = time.monotonic() + FAILED_S * failures
                self._held.insert(place, replace(question, failures=failures, again=again))
            else:
                log.error("an answer is given up after %d tries, its reports stay: %s", failures, error)
            if error.status is None:
                raise

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
