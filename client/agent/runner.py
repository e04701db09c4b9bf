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
from client.agent.filing import fit_to_leave
from client.agent.outbox import Filed
from client.agent.standing import Release, Standing
from client.agent.state import AgentState, Order
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

    @property
    def working(self) -> bool:
        """Whether a worker is there."""
        return self._running is not None

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

    def abandon(self) -> None:
        """End the worker because its order is no longer the one that runs."""
        self._not_before = 0.0
        self._drop_worker()

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
            line = self._heard.popleft()
            try:
                self._hear(order, line, now_s)
            except StorageError:
                self._heard.appendleft(line)
                raise
        if running is not None and self._running is running and (code := running.work.ended()) is not None:
            self._running = None
            self._worker_ended(order, f"exit code {code}", now_s)

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
        self._heard.clear()

    def _worker_ended(self, order: Order, how: str, now_s: float) -> None:
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
            told, standing = fit_to_leave(report, standing, self._config.privacy)
            filed.append(Filed(told, report.outcome == Outcome.ADAPTED))
        self._write(order, filed, standing, left, now_s)

    def _write(
        self, order: Order, filed: Sequence[Filed], standing: Standing, left: Sequence[DeviceConfig], now_s: float
    ) -> None:
        current = self._state.running()
        if not left and current is not None and current.proven:
            expires = int(order.expires_s) if order.rollout else 0
            standing = standing.proven(Release(order.version, order.digest, expires))
        at_work = self._running is not None and left
        self._state.file(order, filed, now_s, standing, ended=not left, next_device=left[0].number if at_work else None)

    def _consider(self, order: Order, now_s: float) -> None:
        """Begin, or give up, or wait."""
        if order.until_s > now_s + order.valid_s:  # the clock was set back
            self._state.amend(order, until_s=now_s + order.valid_s)
        new = order.digest != self._state.standing.in_use.digest
        if now_s >= order.until_s:
            self._end(order, ErrorCode.TOO_LATE, now_s)
        elif new and now_s > order.expires_s:
            self._end(order, ErrorCode.RELEASE_EXPIRED, now_s)
        elif not self._recall(order, now_s):
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
        round_number = PersonaliseRequest.model_validate_json(order.settings).round
        for device in self.remaining(order):
            filed = self._state.remembered(device.number, order.digest)
            if filed is None or filed.adapted != self._has_delta(device, order.digest):
                continue
            if not order.proven:
                self._state.amend(order, proven=1)
            again = replace(filed, report=filed.report.model_copy(update={"round": round_number}))
            left = [other for other in self.remaining(order) if other != device]
            self._write(order, [again], self._state.standing, left, now_s)
        return not self.remaining(order)

    def _has_delta(self, device: DeviceConfig, backbone: str) -> bool | None:
        """Whether a device has one; None where that cannot be read."""
        try:
            return Store(self._node.store).delta(device.number, backbone) is not None
        except StorageError as error:
            log.error("%s", error)
            return None

    def _begin(self, order: Order, now_s: float) -> None:
        remaining = self.remaining(order)
        if not remaining:
            self._write(order, [], self._state.standing, [], now_s)
            return
        request = PersonaliseRequest.model_validate_json(order.settings).model_copy(update={"digest": order.digest})
        node = self._node.model_copy(update={"devices": tuple(remaining)})
        job = Job(node=node, request=request, memory_limit_mib=self._config.memory_limit_mib)
        self._state.count_try(remaining[0].number)
        try:
            self._running = Running(self._start(job), time.monotonic())
        except StorageError:
            self._not_before = now_s + FULL_DISK_RETRY_S
            self._state.count_try(remaining[0].number, -1)
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
            self._worker_ended(order, f"ended after {self._config.work_limit_s:.0f} s", now_s)
