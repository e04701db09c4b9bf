"""A simulated node: the device's own agent, its state in memory and its worker in virtual time.

What differs from a real one is here and in `memory.py`, and nothing else does: which orders are taken, refused,
superseded or too late, what waits in the outbox and what is answered is the agent's own code.
"""

from collections.abc import Callable
from dataclasses import dataclass

from client.agent.acceptance import Acceptance
from client.agent.agent import Agent
from client.agent.conditions import Conditions
from client.agent.config import AgentConfig
from client.agent.retry import Retry
from client.agent.runner import OrderRunner
from client.agent.standing import Release, Standing
from client.agent.state import Order
from client.agent.work import Running, Starter
from client.config import DeviceConfig, NodeConfig
from simulations.rehearsal.memory import NOWHERE, MemoryState, MemoryStore
from tinytrain_core.orders import NodeState, OrderRequest
from tinytrain_core.release import Held, Manifest, Trust

AGENT = AgentConfig(
    name="simulated",
    node=NOWHERE,
    server="127.0.0.1:9",
    ca=NOWHERE,
    key=NOWHERE,
    trust=NOWHERE,
    work_limit_s=7 * 86_400.0,  # a limit of a gateway's own process, while here the chips behind it compute
)
TICK_S = 0.5  # between an order's arrival and its begin, and between two looks at it, at most


class _Rules(Conditions):
    """Whether a node is there, has power and is cool is the simulated world's to say."""

    def check(self, now_s: float, hot: bool = False) -> NodeState:
        return NodeState.IDLE


@dataclass
class VirtualWork:
    """What a worker writes, which can be read when the time has come.

    Attributes:
        ends_s: seconds since 1970; None where it never ends.
        code: its exit code then; anything but 0 is a crash, of which there are no reports.
        clock: says what time it is.
        learnt: told of each line with a report once it is read.
        cut: told which share of it was not done yet, where it is ended before its time.
    """

    began_s: float
    ends_s: float | None
    told: list[bytes]
    clock: Callable[[], float]
    code: int = 0
    learnt: Callable[[bytes], None] = lambda line: None
    cut: Callable[[float], None] = lambda left: None
    _loaded: bool = False  # the backbone, which is said first

    def lines(self) -> list[bytes]:
        found = [] if self._loaded else [b'{"loaded": true}']
        self._loaded = True
        if self.ends_s is None or self.clock() < self.ends_s or self.code:
            return found
        told, self.told = self.told, []
        for line in told:
            self.learnt(line)
        return found + told

    def ended(self) -> int | None:
        over = self.ends_s is not None and self.clock() >= self.ends_s and (self.code or not self.told)
        return self.code if over else None

    def pause(self, paused: bool) -> None:
        """The world's pauses are in its times already."""

    def stop(self) -> None:
        now_s, self.told = self.clock(), []
        if self.ends_s is not None and now_s < self.ends_s:
            self.cut((self.ends_s - now_s) / (self.ends_s - self.began_s))


class _Runner(OrderRunner):
    """The agent's runner, with the time that is passed to it as its only clock."""

    store: MemoryStore

    def _watch(self, order: Order, running: Running, now_s: float) -> None:
        """A device has its time limit; one that has dropped out is never seen again."""
        self.status, work = NodeState.WORKING, running.work
        limit_s = self._config.work_limit_s
        if isinstance(work, VirtualWork) and work.ends_s is not None and now_s - work.began_s > limit_s:
            work.stop()
            self._running = None
            self._worker_ended(order, f"ended after {limit_s:.0f} s", now_s)

    def _has_delta(self, device: DeviceConfig, backbone: str) -> bool | None:
        return self.store.delta(device.number, backbone) is not None

    def wakes_s(self, now_s: float) -> float | None:
        """When there is something to do without any message; None is never."""
        if (order := self._state.running()) is None:
            return None
        if self._running is None:
            return max(now_s + TICK_S, min(self._not_before, order.until_s))
        work = self._running.work
        if not isinstance(work, VirtualWork) or work.ends_s is None:
            return None
        return max(now_s + TICK_S, min(work.ends_s, work.began_s + self._config.work_limit_s + TICK_S))


class _Acceptance(Acceptance):
    def keep_in(self, store: MemoryStore, checked: dict[str, bytes]) -> None:
        """Hold backbones there instead of on a disk; a file that is in `checked` is looked at no more."""
        self._store, self._checked = store, checked

    def _checked_file(self, request: OrderRequest, manifest: Manifest, backbone: bytes | None) -> bytes:
        data = backbone if backbone is not None else self.held(manifest.digest)
        known = data is not None and data is self._checked.get(manifest.digest)
        if data is None or not known or request.request().digest != manifest.digest:
            data = super()._checked_file(request, manifest, backbone)
            self._checked[manifest.digest] = data
        return data


class SimulatedAgent(Agent):
    """The agent of one node.

    Args:
        seed: names the ids of its reports.
        standing: what it holds when it begins, by the files of `held`.
        checked: shared by agents: files that one of them has found to be whole, by digest.
    """

    def __init__(
        self,
        node: NodeConfig,
        trust: Trust,
        start: Starter,
        seed: str,
        config: AgentConfig = AGENT,
        standing: Standing | None = None,
        held: dict[str, bytes] | None = None,
        checked: dict[str, bytes] | None = None,
    ) -> None:
        self.store = MemoryStore(NOWHERE, dict(held or {}))
        self.state = MemoryState(seed, config.outbox.max_reports)
        self.state.standing = standing or Standing()
        self.runner = _Runner(config, node, self.state, start, _Rules())
        self.runner.store = self.store
        acceptance = _Acceptance(config, node, trust, self.state, self.runner)
        acceptance.keep_in(self.store, {} if checked is None else checked)
        self._config, self._node, self._state = config, node, self.state  # as in Agent, without what opens files
        self._runner, self._acceptance = self.runner, acceptance
        self._retry, self._warned_s = Retry(), 0.0


def using(manifest: Manifest) -> Standing:
    """The standing of a node that uses a release already."""
    held = Held(manifest.version, manifest.digest, manifest.version, manifest.created)
    return Standing(1, accepted=held, in_use=Release(manifest.version, manifest.digest, manifest.expires))
