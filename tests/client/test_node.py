"""A node's loop between a server and its devices: answers, questions held open, and a server that is away."""

import time

import pytest
from flwr.app import Message

from client.connection.loop import MAX_FAILURES, NodeLoop
from client.connection.messages import OfflineError, RefusedError, RunEndedError
from tests.client.agents import NOW, Device, manifest, order
from tests.client.wires import Wire, exchange, fields, message, ordered, silent
from tinytrain_core import wire
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import QUERY_SYNC, SyncRequest

pytestmark = pytest.mark.usefixtures("flower_identity", "at_now")


def test_an_order_is_answered_with_its_reports_when_it_has_ended(secret_device: Device, data: bytes) -> None:
    line = exchange(secret_device, ordered(data, hold_s=100.0))
    silent(line)
    (answer,) = line.answers
    assert (answer.status.rollout, answer.status.version, answer.status.refused) == (1, 1, 0)
    assert [delivery.report.device for delivery in answer.deliveries] == [11]
    ids = [delivery.envelope.report_id for delivery in answer.deliveries]
    ask = message(QUERY_SYNC, {wire.REQUEST_RECORD: fields(SyncRequest(acknowledged=ids, digest=digest(data)))})
    line = exchange(secret_device, ask)
    assert (line.answers[0].status.holds_backbone, line.answers[0].deliveries) == (1, ())


def test_a_question_is_held_until_its_time_is_over(secret_device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = message(QUERY_SYNC, {wire.REQUEST_RECORD: fields(SyncRequest(hold_s=50.0))})
    line = Wire([ask, ask])
    loop = NodeLoop(secret_device.agent, line, secret_device.config)
    loop.step()
    assert line.answers == []
    assert not loop.idle()
    later = time.monotonic() + 51
    monkeypatch.setattr(time, "monotonic", lambda: later)
    loop.step()
    assert len(line.answers) == 2
    assert loop.idle()


def test_a_question_is_not_held_longer_than_the_server_waits(secret_device: Device) -> None:
    request = fields(SyncRequest(hold_s=3_600.0))
    line = exchange(secret_device, message(QUERY_SYNC, {wire.REQUEST_RECORD: request}, ttl=5.0))
    assert len(line.answers) == 1


def test_an_answer_that_nobody_waits_for_is_dropped_and_its_reports_stay(secret_device: Device, data: bytes) -> None:
    line = Wire([ordered(data)])
    loop = NodeLoop(secret_device.agent, line, secret_device.config)
    loop._take_messages()
    for _ in range(3):
        secret_device.agent.tick(NOW)
    line.failing = RunEndedError("over")
    loop._answer()
    assert loop._held == []
    assert secret_device.state.pending() == 1


def test_the_devices_go_on_while_the_server_is_away(secret_device: Device, data: bytes) -> None:
    known: list[int | None] = []
    line = Wire([ordered(data, hold_s=100.0)])
    troubles: list[Exception] = []
    loop = NodeLoop(secret_device.agent, line, secret_device.config, 7, known.append, trouble=troubles.append)
    loop.step()
    line.failing = OfflineError("away")
    for _ in range(4):
        loop._next_talk = 0.0
        loop.step()
    assert secret_device.state.running() is None
    assert secret_device.state.pending() == 1
    assert len(troubles) == 4
    line.failing = None
    loop._next_talk = 0.0
    loop.step()
    assert [d.report.device for d in line.answers[0].deliveries] == [11]
    assert (line.opened[0], line.opened[-1], known) == (7, 7, [])


def test_a_node_that_the_server_has_forgotten_asks_anew(secret_device: Device) -> None:
    known: list[int | None] = []
    line = Wire(failing=RefusedError("PullMessages", 401))
    loop = NodeLoop(secret_device.agent, line, secret_device.config, 5, known.append)
    loop.step()
    line.failing = None
    loop._next_talk = 0.0
    loop.step()
    assert (known, line.opened) == ([None, 7], [5, None])
    assert loop.idle()


def talk(loop: NodeLoop, times: int = 1) -> None:
    for _ in range(times):
        loop._next_talk = 0.0
        loop.step()


def asking(hold_s: float = 0.0, ttl: float = 3_600.0, digest: str = "") -> Message:
    return message(QUERY_SYNC, {wire.REQUEST_RECORD: fields(SyncRequest(hold_s=hold_s, digest=digest))}, ttl)


def test_questions_of_a_server_that_began_anew_are_dropped_and_the_reports_stay(
    secret_device: Device, data: bytes
) -> None:
    line = Wire([ordered(data, hold_s=100.0), asking(50.0)])
    loop = NodeLoop(secret_device.agent, line, secret_device.config)
    loop._come_online()
    loop._take_messages()
    secret_device.tick()
    line.failing = RefusedError("SendNodeHeartbeat", 404)
    loop._next_sign = 0.0
    talk(loop)
    assert len(loop._held) == 2
    line.failing, line.number = None, 8
    line.poisoned = {question.incoming.handle.metadata.message_id: OfflineError("", 500) for question in loop._held}  # type: ignore[attr-defined]
    contacts: list[int] = []
    loop._contact = lambda: contacts.append(1)
    talk(loop)
    assert (loop._held, contacts, secret_device.state.pending()) == ([], [1], 1)
    line.sent.append(asking())
    talk(loop)
    assert len(line.answers[0].deliveries) == 1


@pytest.mark.parametrize("status", [500, None])
def test_an_answer_that_is_never_taken_does_not_block_the_others(
    status: int | None, secret_device: Device, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ordered(data, hold_s=100.0), asking(50.0, digest=digest(data))
    line = Wire([first, second], poisoned={first.metadata.message_id: OfflineError("PushMessages", status)})
    troubles: list[Exception] = []
    loop = NodeLoop(secret_device.agent, line, secret_device.config, trouble=troubles.append)
    for turn in range(MAX_FAILURES):
        later = 100.0 * turn + time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda later=later: later)
        talk(loop, 3)
    assert loop._held == []
    assert len(line.answers) == 1
    assert len(troubles) == (0 if status else MAX_FAILURES)
    assert secret_device.state.pending() == 1


def test_an_answer_that_comes_too_late_is_not_sent(secret_device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Wire([asking(50.0, ttl=100.0)])
    loop = NodeLoop(secret_device.agent, line, secret_device.config)
    loop.step()
    monkeypatch.setattr(time, "time", lambda: NOW + 101)
    talk(loop)
    assert (loop._held, line.answers) == ([], [])


def test_a_message_that_cannot_be_used_is_told_with_the_reason(
    secret_device: Device, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    line = exchange(secret_device, message(QUERY_SYNC, {"other": fields(SyncRequest())}), message("train.other", {}))
    assert [answer.status.refused for answer in line.answers] == [ErrorCode.REQUEST] * 2
    assert "its records are not understood: KeyError" in caplog.text
    assert "'train.other' is not taken: it is not for this node" in caplog.text


def test_a_report_that_waits_is_no_work(secret_device: Device, data: bytes) -> None:
    """The supervisor cures a connection that is alive and dead at once, unless a worker is there."""
    assert secret_device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.NONE
    secret_device.tick(times=1)
    assert secret_device.agent.working()
    secret_device.tick()
    assert (secret_device.agent.working(), secret_device.agent.busy()) == (False, True)
