"""A simulated node answers as a real one does: the same messages, whatever they are, get the same answers."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from client.agent.agent import Agent
from client.agent.conditions import Conditions
from client.agent.work import Starter, Work
from client.agent.worker import Job
from client.store import Store
from simulations.rehearsal.node import SimulatedAgent, VirtualWork
from tests.client.agents import DAY, NOW, manifest, open_device, order, trust, write_device
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import OrderRequest, SyncRequest
from tinytrain_core.report import Outcome, PersonalisationReport, validate_report

FILES = [b"weights of %d" % version * 20 for version in range(4)]
Learnt = Callable[[PersonalisationReport, str], None]


@dataclass
class Scripted:
    """A worker that says what it was told to say, at once or never."""

    said: list[bytes]
    code: int | None = None
    learnt: Callable[[bytes], None] = lambda line: None

    def lines(self) -> list[bytes]:
        said, self.said = self.said, []
        for line in said:
            self.learnt(line)
        return said

    def ended(self) -> int | None:
        return self.code

    def pause(self, paused: bool) -> None:
        assert not paused

    def stop(self) -> None:
        self.said = []


@dataclass
class Script:
    """What each worker that is begun does, the same for whoever begins it."""

    seed: int
    learnt: Learnt
    begun: list[tuple[tuple[int, ...], str]] = field(default_factory=list)

    def start(self, job: Job) -> Work:
        numbers = tuple(device.number for device in job.node.devices)
        self.begun.append((numbers, job.request.digest))
        rng = random.Random(f"{self.seed} {len(self.begun)}")
        end = rng.choice(["done", "done", "done", "silent", "crashes", "crashes", "crashes", "babbles"])
        lines = [json.dumps({"loaded": True}).encode()] if rng.random() < 0.9 else []
        reports = [self._report(number, rng) for number in numbers]
        lines += [json.dumps({"report": report.model_dump()}).encode() for report in reports]
        kept = len(lines) if end == "done" else rng.randrange(len(lines))
        said = lines[:kept] + ([b"nonsense"] if end == "babbles" else [])
        return Scripted(said, None if end == "silent" else 9 * (end == "crashes"), self._read(job.request.digest))

    def _report(self, device: int, rng: random.Random) -> PersonalisationReport:
        outcome = rng.choice([Outcome.ADAPTED, Outcome.KEPT_BASE, Outcome.FAILED])
        error = ErrorCode.NO_IMAGES if outcome is Outcome.FAILED else ErrorCode.NONE
        return PersonalisationReport(device=device, outcome=outcome, error=error, loss_first=rng.random())

    def _read(self, digest: str) -> Callable[[bytes], None]:
        def read(line: bytes) -> None:
            if line.startswith(b'{"report'):
                self.learnt(validate_report(json.loads(line)["report"]), digest)

        return read


class Pair:
    """The two agents, with scripts of their own that say the same."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.scripts: list[Script] = []
        file = write_device(folder, [{}, {}, {}], max_orders_per_day=40)
        stored = Store(folder / "store")
        device = open_device(file, self._starter(seed, lambda *told: _keep(stored, *told)), _anywhere(folder))
        self.real = device.agent
        starter = self._starter(seed, lambda *told: self.simulated.store.learnt(*told))
        self.simulated = SimulatedAgent(device.node, trust(), starter, "node", device.config)
        self.now_s = NOW

    def _starter(self, seed: int, learnt: Learnt) -> Starter:
        self.scripts.append(Script(seed, learnt))
        return self.scripts[-1].start

    @property
    def agents(self) -> tuple[Agent, Agent]:
        return self.real, self.simulated

    def order(self, request: OrderRequest, backbone: bytes | None) -> ErrorCode:
        real, simulated = (agent.order(request, backbone, self.now_s) for agent in self.agents)
        assert real == simulated
        return real

    def sync(self, places: list[int]) -> None:
        """Acknowledge the reports at these places of what waits, whatever each agent calls them."""
        for agent in self.agents:
            waiting = agent.answer("", ErrorCode.NONE, self.now_s).deliveries
            ids = [waiting[place].envelope.report_id for place in places if place < len(waiting)]
            assert agent.sync(SyncRequest(acknowledged=ids)) is ErrorCode.NONE

    def tick(self) -> None:
        for agent in self.agents:
            agent.tick(self.now_s)

    def agree(self, digest: str, refused: ErrorCode) -> dict[str, Any]:
        """What both say, the ids of reports and the machine's own figures apart."""
        real, simulated = (_said(agent, digest, refused, self.now_s) for agent in self.agents)
        assert real == simulated
        assert self.real.news() == self.simulated.news()
        assert self.real.busy() == self.simulated.busy()
        assert self.scripts[0].begun == self.scripts[1].begun
        return real


def _keep(stored: Store, report: PersonalisationReport, digest: str) -> None:
    if report.outcome == Outcome.ADAPTED:
        stored.save_delta(report.device, digest, b"a delta")
    elif report.outcome != Outcome.FAILED:
        stored.drop_delta(report.device, digest)


def _anywhere(folder: Path) -> Conditions:
    return Conditions(supplies=folder / "none", thermal=folder / "none")


def _said(agent: Agent, digest: str, refused: ErrorCode, now_s: float) -> dict[str, Any]:
    said = agent.answer(digest, refused, now_s).model_dump(exclude={"status": {"free_storage_bytes"}})
    ids = [delivery["envelope"].pop("report_id") for delivery in said["deliveries"]]
    assert len(set(ids)) == len(ids)
    return said


def _some_order(rng: random.Random) -> tuple[OrderRequest, bytes | None]:
    """An order that may be good, may be a way back, and may be wrong in any way."""
    version = rng.randrange(1, len(FILES))
    back = rng.random() < 0.3 and version + 1 < len(FILES)
    changes: dict[str, Any] = {"created": int(NOW) - DAY}
    if back:
        changes |= {"kind": "rollback", "withdraws": list(range(version + 1, len(FILES)))}
    if rng.random() < 0.1:
        changes |= rng.choice([{"name": "other"}, {"expires": int(NOW) - 1}, {"min_client": "99.0.0"}])
    signed = 1 if rng.random() < 0.05 else 2
    what = manifest(FILES[version], version, **changes)
    number, attempt, valid_s = rng.randrange(1, 4), rng.randrange(1, 5), rng.choice([40.0, 4_000.0])
    request = order(what, number, attempt, signed, valid_s=valid_s)
    if rng.random() < 0.05:
        request = request.model_copy(update={"settings": request.settings.replace(what.digest, "0" * 64)})
    sent = rng.choices([FILES[version], None, b"something else"], [12, 6, 1])[0]
    return request, sent


@pytest.mark.parametrize("seed", range(4))
def test_the_same_messages_get_the_same_answers(tmp_path: Path, seed: int) -> None:
    rng, pair, seen = random.Random(seed), Pair(tmp_path, seed), set[str]()
    for _ in range(100):
        refused = ErrorCode.NONE
        match rng.choice(["order", "tick", "tick", "tick", "sync", "wait", "wait"]):
            case "order":
                refused = pair.order(*_some_order(rng))
            case "tick":
                pair.tick()
            case "sync":
                pair.sync(sorted(rng.sample(range(8), 3)))
            case "wait":
                pair.now_s += rng.choice([1.0, 10.0, 30.0, 300.0])
        digest = manifest(FILES[rng.randrange(1, len(FILES))], 1).digest
        said = pair.agree(rng.choice([digest, ""]), refused)
        seen |= {f"refused {refused}", *(f"error {d['report']['error']}" for d in said["deliveries"])}
    assert len(seen) >= 6, "these messages brought the agents into too few situations"


def test_a_worker_says_nothing_before_its_time() -> None:
    now = [100.0]
    work = VirtualWork(100.0, 160.0, [b"a report"], lambda: now[0])
    assert work.lines() == [b'{"loaded": true}']
    now[0] = 159.0
    assert (work.lines(), work.ended()) == ([], None)
    now[0] = 160.0
    assert work.lines() == [b"a report"]
    assert work.ended() == 0


def test_a_worker_that_crashes_leaves_no_report() -> None:
    now = [100.0]
    work = VirtualWork(100.0, 160.0, [b"a report"], lambda: now[0], code=9)
    work.lines()
    now[0] = 161.0
    assert (work.lines(), work.ended()) == ([], 9)


def test_a_worker_that_drops_out_never_ends() -> None:
    work = VirtualWork(100.0, None, [b"a report"], lambda: 1e12)
    work.lines()
    assert (work.lines(), work.ended()) == ([], None)
