"""The order that runs: a worker begun, listened to, paused, ended, and what became of each device written down.

A device's outcome is written when it is known. A device is counted as begun before it begins, so that whatever ends
the worker, the node or the whole machine is bounded: after `max_attempts` the outcome is that it crashed.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from client.agent.conditions import Conditions
from client.agent.config import AgentConfig
from client.agent.privacy import protect
from client.agent.standing import Release, Standing
from client.agent.state import AgentState, Filed, Order
from client.agent.work import Running, Starter
from client.agent.worker import Job
from client.config import DeviceConfig, NodeConfig
from client.store import Store
from tinytrain_core.errors import EgressError, ErrorCode, StorageError
from tinytrain_core.orders import NodeState
from tinytrain_core.release import parse_manifest
from tinytrain_core.report import Outcome, PersonalisationReport, failure, validate_report
from tinytrain_core.wire import PersonaliseRequest

log = logging.getLogger(__name__)

PAUSE_LIMIT_S = 600.0  # a worker that rests longer is ended, for the sake of the memory that it holds
LONGEST_RETRY_S = 60.0
FULL_DISK_RETRY_S = 60.0


class OrderRunner:
    """Carries out whatever order the state says is running."""

    def __init__(
        self, config: AgentConfig, node: NodeConfig, state: AgentState, start: Starter, conditions: Conditions
    ) -> None:
        self._config, self._node, self._state = config, node, state
        self._start, self._conditions = start, conditions
        self._running: Running | None = None
        self._heard: deque[bytes] = deque()
        self._not_before = 0.0
        self.status = NodeState.IDLE

    def remaining(self, order: Order) -> list[DeviceConfig]:
        """The devices that have not reported on it, in their order."""
        done = self._state.done(order)
        return [device for device in self._node.devices if device.number not in done]

    def failures(self, order: Order, code: ErrorCode) -> list[PersonalisationReport]:
        """The same failure for every device that has not reported."""
        return [self._failure(order, device, code) for device in self.remaining(order)]

    def _failure(self, order: Order, device: DeviceConfig, code: ErrorCode) -> PersonalisationReport:
        round_number = PersonaliseRequest.model_validate_json(order.settings).round
        return failure(code, device.number, device.device_class.number, round_number)

    def stop(self) -> None:
        """End the worker for a reason that is not its own: the device that it was at may begin once more."""
        self._not_before = 0.0
        self._heard.clear()
        if self._running is None:
            return
        self._drop_worker()
        order = self._state.running()
        if order is not None and (remaining := self.remaining(order)):
            self._state.count_try(remaining[0].number, -1)

    def tick(self, now_s: float) -> None:
        """One look at everything; takes milliseconds.

        Raises:
            StorageError: the state cannot be written; the next call tries again.
        """
        if (order := self._state.running()) is not None:
            self._listen(order, now_s)
        if (order := self._state.running()) is None:
            self._drop_worker()  # it has said everything, and is about to end
            self.status = NodeState.IDLE
        elif self._running is None:
            self._consider(order, now_s)
        else:
            self._watch(order, self._running, now_s)

    def _listen(self, order: Order, now_s: float) -> None:
        """Take what the worker has said, and what its end means."""
        running = self._running
        if running is not None:
            self._heard.extend(running.work.lines())
        while self._heard:
            self._hear(order, self._heard[0], now_s)
            self._heard.popleft()
        if running is not None and self._running is running and (code := running.work.ended()) is not None:
            self._running = None
            self._died(order, f"exit code {code}", now_s)

    def _hear(self, order: Order, line: bytes, now_s: float) -> None:
        """A line of the worker's: the guard between what has seen images and what has a connection."""
        try:
            report = self._understood(order, line)
        except (ValueError, TypeError, RecursionError, EgressError) as error:
            log.error("what a worker wrote was refused: %s", error)
            self._drop_worker()
            self._file(order, self.failures(order, ErrorCode.EGRESS)[:1], now_s)
            return
        if report is None:
            self._state.amend(order, proven=1)
            return
        self._file(order, [report], now_s)
        if self._running is not None:
            self._running.device_began, self._running.rested_s = time.monotonic(), 0.0

    def _understood(self, order: Order, line: bytes) -> PersonalisationReport | None:
        """The report that a line is; None for the news that the backbone works.

        Raises:
            EgressError, ValueError, TypeError, RecursionError: it is neither.
        """
        fields, remaining = json.loads(line), self.remaining(order)
        if fields == {"loaded": True}:
            return None
        if not remaining or set(fields) != {"report"}:
            raise EgressError("not a report")
        report = validate_report(fields["report"])
        if report.device != remaining[0].number:
            raise EgressError(f"a report of device {report.device}, the worker is at {remaining[0].number}")
        return report

    def _drop_worker(self) -> None:
        if self._running is not None:
            self._running.work.stop()
            self._running = None
        while len(self._heard) > 1:  # the line in hand is taken off by whoever reads it
            self._heard.pop()

    def _died(self, order: Order, how: str, now_s: float) -> None:
        """The worker has ended: all is well if every device has reported, else the one that it was at has crashed."""
        remaining = self.remaining(order)
        if not remaining:
            return
        device, tries = remaining[0], self._state.tries(remaining[0].number)
        log.error("the worker ended (%s) while it was at device %d, try %d", how, device.number, tries)
        self._not_before = now_s + min(2.0**tries, LONGEST_RETRY_S)
        if tries >= self._config.max_attempts:
            self._file(order, [self._failure(order, device, ErrorCode.CRASHED)], now_s)

    def _file(self, order: Order, reports: Sequence[PersonalisationReport], now_s: float, ended: bool = False) -> None:
        """Write outcomes down, as they may leave; with the last of them the order has ended."""
        left = [] if ended else self.remaining(order)[len(reports) :]
        standing, filed = self._state.standing, list[Filed]()
        for report in reports:
            spent = standing.spent.get(report.device, 0)
            adapted = report.outcome == Outcome.ADAPTED
            if self._config.privacy is not None:
                told = protect(report, self._config.privacy, spent)
                report, standing = told.report, standing.spending({report.device: told.spent})
            filed.append(Filed(report, adapted))
        self._write(order, filed, standing, left, now_s)

    def _write(
        self, order: Order, filed: Sequence[Filed], standing: Standing, left: Sequence[DeviceConfig], now_s: float
    ) -> None:
        current = self._state.running()
        if not left and current is not None and current.proven:
            standing = standing.proven(Release(order.version, order.digest))
        at_work = self._running is not None and left
        self._state.file(order, filed, now_s, standing, ended=not left, next_device=left[0].number if at_work else None)

    def _consider(self, order: Order, now_s: float) -> None:
        """Begin, or give up, or wait."""
        if order.until_s > now_s + order.valid_s:  # the clock was set back
            self._state.amend(order, until_s=now_s + order.valid_s)
        if self._recall(order, now_s):
            return
        new = order.digest != self._state.standing.in_use.digest
        if now_s >= order.until_s:
            self._end(order, ErrorCode.TOO_LATE, now_s)
        elif new and now_s > order.expires_s:
            self._end(order, ErrorCode.RELEASE_EXPIRED, now_s)
        else:
            self.status = self._conditions.check(now_s, self.status == NodeState.TOO_HOT)
            if self.status == NodeState.IDLE:
                self.status = NodeState.WORKING
                if not now_s < self._not_before <= now_s + LONGEST_RETRY_S:
                    self._begin(order, now_s)

    def _end(self, order: Order, code: ErrorCode, now_s: float) -> None:
        log.error("order %d.%d ends with %s", order.rollout, order.attempt, code.name)
        self._file(order, self.failures(order, code) if order.rollout else [], now_s, ended=True)
        self.status = NodeState.IDLE

    def _recall(self, order: Order, now_s: float) -> bool:
        """Report again, on the way back, what devices have reported on the older release; whether that was all."""
        if not order.manifest or not parse_manifest(order.manifest.encode()).is_rollback:
            return False
        store, round_number = Store(self._node.store), PersonaliseRequest.model_validate_json(order.settings).round
        for device in self.remaining(order):
            filed = self._state.remembered(device.number, order.digest)
            if filed is None or filed.adapted != (store.delta(device.number, order.digest) is not None):
                continue
            if not order.proven:
                self._state.amend(order, proven=1)
            again = replace(filed, report=filed.report.model_copy(update={"round": round_number}))
            left = [other for other in self.remaining(order) if other != device]
            self._write(order, [again], self._state.standing, left, now_s)
        return not self.remaining(order)

    def _begin(self, order: Order, now_s: float) -> None:
        remaining = self.remaining(order)
        if not remaining:
            self._write(order, [], self._state.standing, [], now_s)
            return
        request = PersonaliseRequest.model_validate_json(order.settings).model_copy(update={"digest": order.digest})
        numbers = [device.number for device in remaining]
        job = Job(
            node=self._config.node, request=request, devices=numbers, memory_limit_mib=self._config.memory_limit_mib
        )
        self._state.count_try(numbers[0])
        try:
            self._running = Running(self._start(job), time.monotonic())
        except StorageError:
            self._not_before = now_s + FULL_DISK_RETRY_S
            self._state.count_try(numbers[0], -1)
            raise

    def _watch(self, order: Order, running: Running, now_s: float) -> None:
        """Hold a worker to the device's rules."""
        now = time.monotonic()
        found = self._conditions.check(now_s, self.status == NodeState.TOO_HOT)
        running.rest(found != NodeState.IDLE, now)
        self.status = found if found != NodeState.IDLE else NodeState.WORKING
        if running.rests_since is not None and now - running.rests_since > PAUSE_LIMIT_S:
            self.stop()
        elif running.worked_s(now) > self._config.work_limit_s:
            running.work.stop()
            self._running = None
            self._died(order, f"ended after {self._config.work_limit_s:.0f} s", now_s)
