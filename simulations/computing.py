"""From messages to what nodes' apps make of them, by whichever worker is free, with what each app keeps."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from client.config import NodeConfig
from simulations.contents import Content
from simulations.executors.executor import Done, Executor, Job
from simulations.records import numbers
from simulations.remembered import Remembered, name_of
from simulations.serving import APP_CRASHED, APP_RAISED, Reply, Request
from simulations.world.visit import Fate

# which node, what it was asked, and the numbers that it answers; None where it answers none
OnComputed = Callable[[int, str, Mapping[str, Mapping[str, Any]] | None], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message to a node.

    Attributes:
        key: its number among all messages.
        node: partition id.
        number: among the node's messages of that kind, from 1.
        sent_s: virtual seconds since 1970.
        fate: only what is to be answered is computed,
        reached: and what reaches its node in time.
    """

    key: int
    node: int
    kind: str
    number: int
    group_id: str
    sent_s: float
    ttl_s: float
    fate: Fate
    reached: bool
    content: Content

    @property
    def message_id(self) -> str:
        """What Flower knows it by."""
        return str(self.key)


class Outcome(NamedTuple):
    """What a node's app made of a message; `cause` says why there is no answer, and is empty where there is one."""

    reply: Reply
    cause: str = ""


NOT_COMPUTED = Outcome(Reply(None, APP_CRASHED, 0, None))


def _outcome(done: Done) -> Outcome:
    if done.died:
        return Outcome(Reply(None, APP_CRASHED, 0, None), f"worker died: {done.died}")
    if done.error:
        return Outcome(Reply(None, APP_RAISED, 0, None), f"exception: {done.error}")
    reply = Reply(*done.value)
    return Outcome(reply, f"error {reply.error}" if reply.records is None else "")


class Computing:
    """The apps of all nodes.

    Args:
        nodes: by partition id.
        app: `module:name` of the ClientApp.
        executor: of `simulations.serving.FUNCTION`.
        remembered: replies of a run that was cut short; those of this one are added.
        on_computed: told of each message, in the order in which they end.
    """

    def __init__(
        self,
        nodes: Sequence[NodeConfig],
        app: str,
        executor: Executor,
        run_config: Mapping[str, Any],
        remembered: Remembered | None,
        on_computed: OnComputed,
    ) -> None:
        self._nodes, self._app, self._executor = nodes, app, executor
        self._run_config = dict(run_config)
        self._remembered, self._on_computed = remembered, on_computed
        self._texts: dict[int, str] = {}  # the configurations of nodes
        self._states: dict[int, Any] = {}  # what the apps of nodes keep
        self._out: dict[int, Sent] = {}
        self._queues: dict[int, deque[Sent]] = {}  # of nodes at work: the messages that came since
        self._outcomes: list[tuple[Sent, Outcome]] = []

    def begin(self, messages: Iterable[Sent]) -> None:
        """Compute these; a node takes one message at a time, in their order."""
        self._executor.submit([job for sent in messages for job in self._jobs(sent)])

    def finish(self) -> list[tuple[Sent, Outcome]]:
        """What became of all messages since the last call, in no order, once all of them are computed.

        Raises:
            FleetError: the executor has no worker any more.
        """
        while self._executor.outstanding:
            next_up = [job for done in self._executor.done() for job in self._done(done)]
            self._executor.submit(next_up)
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _jobs(self, sent: Sent) -> list[Job]:
        """The job of a message, if it has to be computed, and now."""
        if sent.node in self._queues:
            self._queues[sent.node].append(sent)
            return []
        if sent.fate is not Fate.ANSWERS or not sent.reached:
            self._ended(sent, NOT_COMPUTED)
            return []
        if self._remembered is not None and (reply := self._remembered.reply(self._name(sent))):
            self._ended(sent, Outcome(reply))
            return []
        self._queues[sent.node] = deque()
        self._out[sent.key] = sent
        return [self._job(sent)]

    def _job(self, sent: Sent) -> Job:
        config = {"partition-id": sent.node, "num-partitions": len(self._nodes), "node": self._text(sent.node)}
        request = Request(
            app=self._app,
            node=sent.node + 1,
            node_config=config,
            run_config=self._run_config,
            message_id=sent.message_id,
            kind=sent.kind,
            group_id=sent.group_id,
            ttl_s=sent.ttl_s,
            records=sent.content.records,
            state=self._states.get(sent.node),
        )
        return Job(sent.key, tuple(request), sent.content.shared)

    def _done(self, done: Done) -> list[Job]:
        """Note a result; the job of the node's next message, if it has one."""
        sent = self._out.pop(done.number)
        outcome = _outcome(done)
        if self._remembered is not None and not outcome.cause:
            self._remembered.keep(self._name(sent), outcome.reply)
        self._ended(sent, outcome)
        waiting = self._queues.pop(sent.node)
        while waiting:
            jobs = self._jobs(waiting.popleft())
            if jobs:
                self._queues[sent.node] = waiting
                return jobs
        return []

    def _ended(self, sent: Sent, outcome: Outcome) -> None:
        reply = outcome.reply
        if reply.state:
            self._states[sent.node] = reply.state
        elif reply.state is not None:
            self._states.pop(sent.node, None)
        self._outcomes.append((sent, outcome))
        self._on_computed(sent.node, sent.kind, None if reply.records is None else numbers(reply.records))

    def _text(self, node: int) -> str:
        if node not in self._texts:
            self._texts[node] = self._nodes[node].model_dump_json(exclude_unset=True)
        return self._texts[node]

    def _name(self, sent: Sent) -> bytes:
        return name_of(self._app, self._text(sent.node), sent.kind, sent.number, sent.content.digest)
