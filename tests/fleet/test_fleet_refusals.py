"""What a fleet refuses, seen from both ends: keys, certificates, clocks, orders of a server that was taken over."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import random_backbone
from tests.fleet.devices import Device
from tests.fleet.hostile import Forger, Order, take_over
from tests.fleet.operations import Operator
from tests.server.running import wait_for
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import digest, to_bytes
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import TRAIN_ORDER, parse_answer

DAY = 86_400
HELD = ("release in use", "highest seen", "backbone")
# Put before everything that a process imports: its clock is an hour ahead.
AHEAD = """\
import datetime, time
_now, _time = datetime.datetime, time.time
class datetime_(_now):
    @classmethod
    def now(cls, tz=None):
        return _now.now(tz) + datetime.timedelta(hours=1)
datetime.datetime = datetime_
time.time = lambda: _time() + 3600
"""


@pytest.fixture
def stranger(operator: Operator, tmp_path: Path) -> Iterator[Device]:
    """A machine with a bundle of its own, which nobody knows."""
    operator.devices.pop("lost-1", None)
    device = operator.add_node(f"lost-{tmp_path.name[-8:]}".replace("_", "-"), {int(time.time()): "pi_4"})
    yield device
    operator.devices.pop(device.folder.name)
    device.close()


def both_say(operator: Operator, device: Device, there: str, here: str) -> None:
    """The device says one thing in its log, the server another in its own."""
    wait_for(f"{there!r} on the device, {device.logs()[-2000:]}", lambda: there in device.logs(), 60)
    wait_for(f"{here!r} on the server", lambda: here in operator.server.log(), 60)


def test_a_node_that_was_removed(operator: Operator, stranger: Device) -> None:
    operator.server_command("node", "remove", stranger.folder.name)
    wait_for("the SuperLink to know", lambda: "unregistered" in operator.server.log() or True)
    stranger.start()
    both_say(operator, stranger, "does not let this node's key in", "refused: a machine")


def test_another_authority(operator: Operator, stranger: Device) -> None:
    operator.server_command("init", operator.folder.parent / "other", "--address", "127.0.0.1:1")
    operator.server_command("pki", "init", "--fleet", operator.folder.parent / "other")
    other = operator.folder.parent / "other" / "pki" / "ca.crt"
    stranger.config.ca.write_bytes(other.read_bytes())
    stranger.start()
    both_say(operator, stranger, "not signed by", "was enrolled with another authority")


def test_a_clock_that_is_an_hour_ahead(operator: Operator, stranger: Device) -> None:
    (stranger.folder / "clock").mkdir()
    (stranger.folder / "clock" / "sitecustomize.py").write_text(AHEAD, encoding="utf-8")
    stranger.start(PYTHONPATH=str(stranger.folder / "clock"))
    both_say(operator, stranger, "ahead", "its clock is 36")


def forged_cases(forger: Forger, worse: bytes) -> dict[str, tuple[Order, ErrorCode, str]]:
    """Orders with what a device has to answer, and what it has to tell the person in front of it."""
    hour, foreign = int(time.time()) + 3_600, {"digest": digest(worse), "length": len(worse)}
    changed = forger.order(forger.manifest(9, **foreign), backbone=True)
    good, later = forger.manifest(9), {"created": hour, "expires": hour + DAY}
    fields = forger.order(good)[2]

    def other(kind: str, **changes: str) -> Order:
        return forger.node, kind, fields | changes, ""

    return {
        "too few": (forger.order(good, signers=1), ErrorCode.SIGNATURE, "1 valid signatures of the 2 pinned keys"),
        "tampered": (forger.order(good, sent=forger.manifest(8)), ErrorCode.SIGNATURE, "0 valid signatures"),
        "weights": (changed, ErrorCode.MANIFEST, "changed or cut short"),
        "expired": (forger.order(forger.manifest(9, created=1, expires=2)), ErrorCode.RELEASE_EXPIRED, "expired"),
        "older": (forger.order(forger.manifest(1, **foreign)), ErrorCode.ROLLBACK, "version 1 is not above"),
        "schema": (forger.order(good, schema=2), ErrorCode.MANIFEST, "schema 2"),
        "clock": (forger.order(forger.manifest(9, **later)), ErrorCode.CLOCK, "set the clock"),
        "steal": (other("train.steal"), ErrorCode.REQUEST, "not for this node"),
        "plain": (other("train.personalise"), ErrorCode.REQUEST, "not for this node"),
        "path": (other(TRAIN_ORDER, settings='{"method": "../x"}'), ErrorCode.REQUEST, "settings"),
    }


def test_orders_of_a_server_that_was_taken_over(operator: Operator, tmp_path: Path) -> None:
    device = operator.devices["pi-1"]
    before = device.facts()
    worse = to_bytes(random_backbone(load_spec("mcunet-5fps"), 3), torch.float16)
    cases = forged_cases(Forger(operator.config, operator.keys, "pi-1"), worse)
    (tmp_path / "weights").write_bytes(worse[:-1] + b"!")
    heard, marker = take_over(operator.config, tmp_path, {name: order for name, (order, _, _) in cases.items()})
    assert not marker.exists()
    for name, (_, code, said) in cases.items():
        answer = heard[name]
        assert (answer["arrays"], answer["texts"]) == ([], {}), name
        assert parse_answer(answer["numbers"]).status.refused == code, name
        assert said in device.logs(), name
    after = device.facts()
    assert [after[name] for name in HELD] == [before[name] for name in HELD]
