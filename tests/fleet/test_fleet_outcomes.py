"""Devices that cannot do what they are told, and one that lies: each is a recorded outcome, and none a crash loop."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flwr.app import Message, MetricRecord, RecordDict

from client.connection.identity import load_identity
from client.connection.link import Link
from client.connection.messages import OfflineError, RefusedError
from server.fleet.database import Database
from tests.fleet.devices import QUICK, Device
from tests.fleet.folders import LABEL
from tests.fleet.operations import Operator
from tests.server.running import wait_for
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import Answer, NodeStatus
from tinytrain_core.report import Outcome

SMALL_BYTES = 2_000_000  # of memory
NO_DATA, ONE_CLASS, TINY, FINE = 11, 12, 13, 14
ODD = {"names": ["odd-1", "full-1"]}
FULL, LIAR, UNFINISHED = 21, 31, 32
OTHERS = {"pi-1": 5, "esp-1": 8}


def test_devices_that_cannot_report_that_they_cannot(operator: Operator) -> None:
    hosted = dict.fromkeys((NO_DATA, ONE_CLASS, TINY, FINE), "pi_4")
    gateway = operator.add_node("odd-1", hosted)
    (gateway.folder / "empty").mkdir()
    one = gateway.folder / f"images-{ONE_CLASS}"
    single = gateway.folder / "single"
    single.mkdir()
    (one / f"{LABEL}-0").rename(single / f"{LABEL}-0")
    gateway.devices(
        {
            NO_DATA: {"data": str(gateway.folder / "empty")},
            ONE_CLASS: {"data": str(single)},
            TINY: {**QUICK, "memory_bytes": SMALL_BYTES},
        }
    )
    full = operator.add_node("full-1", {FULL: "pi_4"})
    gateway.start()
    full.start(most_bytes=400 * 1024)  # the backbone has 945 kB
    try:
        gates = {"min_reports": 1, "max_share_failed": None, "min_gain_lower_bound": None, "max_share_worse": None}
        operator.roll_out("odd", 1, rollback="none", gates=gates, retries=0, deadline_s=60, target=ODD)
        operator.wait("odd", "completed")
        found = {report["device"]: report for report in operator.reports("odd")}
        assert found[NO_DATA]["error"] == ErrorCode.NO_IMAGES
        assert found[ONE_CLASS]["error"] == ErrorCode.TOO_FEW_CLASSES
        assert found[TINY]["outcome"] in (Outcome.ADAPTED, Outcome.KEPT_BASE, Outcome.CANNOT_AFFORD)
        assert found[FINE]["outcome"] in (Outcome.ADAPTED, Outcome.KEPT_BASE)
        refused = operator.fleet("fleet", "refusals")
        assert any(row["node"] == "full-1" and "STORAGE" in str(row).upper() for row in refused), refused
        assert "File too large" in full.logs() or "No space left" in full.logs()
        assert full.facts()["restarts"] == gateway.facts()["restarts"] == 0
    finally:
        for device in (gateway, full):
            operator.devices.pop(device.folder.name)
            device.close()
            operator.server_command("node", "remove", device.folder.name)


def crafted(kind: str) -> RecordDict:
    """What a lying node sends."""
    status = MetricRecord(NodeStatus(devices=1).model_dump())
    if kind == "nan":
        status["clock"] = math.nan
        return RecordDict({"status": status})
    if kind == "oversized":
        return RecordDict({"status": status, "more": MetricRecord({"weights": [0.5] * 20_000})})
    if kind == "unfinished":
        return RecordDict({"status": status})
    return RecordDict({"status": MetricRecord({"anything": 1})})


class Liar:
    """A machine with a good key that answers every message with something that is not an answer."""

    def __init__(self, device: Device, lies: list[str]) -> None:
        host, port = device.config.address
        self.link = Link(f"{host}:{port}", device.config.ca, load_identity(device.config.key))
        self.lies, self.told = lies, 0
        self.stop = threading.Event()

    @property
    def _lie(self) -> str:
        return self.lies[self.told % len(self.lies)]

    def _says(self, name: str) -> bool:
        """Whether it sends a request: an answer that stays unfinished is announced, and its objects never come."""
        return name != "PushObject" or self._lie != "unfinished"

    def run(self, patch: pytest.MonkeyPatch) -> None:
        """Until it is stopped."""

        def reply(message: Message, _: Answer) -> Message:
            made = Message(crafted(self._lie), reply_to=message)
            made.metadata.__dict__["_message_id"] = made.object_id
            return made

        patch.setattr("client.connection.link.reply_to", reply)
        call = self.link._calls.call
        patch.setattr(self.link._calls, "call", lambda name, request: self._says(name) and call(name, request))
        opened = False
        while not self.stop.wait(0.3):
            try:
                if not opened:
                    self.link.open(None)
                    opened = True
                if incoming := self.link.receive():
                    self.link.reply(incoming, Answer(status=NodeStatus()))
                    self.told += 1
            except (OfflineError, RefusedError):
                continue
        self.link.close()


@contextmanager
def lying(operator: Operator, name: str, number: int, lies: list[str], patch: pytest.MonkeyPatch) -> Iterator[Liar]:
    """A node of the fleet that tells these lies, until the block ends."""
    device = operator.add_node(name, {number: "pi_4"})
    liar = Liar(device, lies)
    thread = threading.Thread(target=liar.run, args=(patch,))
    thread.start()
    try:
        yield liar
    finally:
        liar.stop.set()
        thread.join(timeout=30)
        operator.devices.pop(name)
        device.close()


@pytest.mark.usefixtures("flower_identity")
def test_an_answer_that_is_announced_and_never_comes_holds_up_nobody(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(operator.server.log())
    with lying(operator, "liar-2", UNFINISHED, ["unfinished"], monkeypatch) as liar:
        target = {"names": ["liar-2", *OTHERS]}
        operator.roll_out("unfinished", 1, rollback="none", retries=0, deadline_s=240, target=target)
        wait_for("an answer after one that never came", lambda: liar.told >= 2, 90)
        wait_for("the others", lambda: len(operator.reports("unfinished")) == len(OTHERS), 90)
        assert [report["device"] for report in operator.reports("unfinished")] == sorted(OTHERS.values())
        operator.server_command("rollout", "abort", "unfinished", "--keep", "--reason", "the others are done")
    operator.wait("unfinished", "aborted")
    assert "no sign of life" not in operator.server.log()[before:]


@pytest.mark.usefixtures("flower_identity")
def test_a_node_that_lies_is_refused_and_counts_as_failed(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    with lying(operator, "liar-1", LIAR, ["nan", "oversized", "malformed"], monkeypatch) as liar:
        operator.roll_out("lies", 1, rollback="none", retries=1, deadline_s=90, target={"names": ["liar-1"]})
        operator.wait("lies", "halted")
        refused = [row for row in operator.fleet("fleet", "refusals") if row["node"] == "liar-1"]
        assert len(refused) >= 2, refused
        assert operator.reports("lies") == []
        with Database(operator.config.database) as database:
            assert {row["error"] for row in database.rows("SELECT error FROM refusals WHERE node = 'liar-1'")} == {
                int(ErrorCode.EGRESS)
            }
        wait_for("three kinds of lies", lambda: liar.told >= len(liar.lies), 60)


def test_the_commands_of_an_operator_say_what_happened(operator: Operator, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    operator.server_command("fleet", "report", "--html", page)
    text = page.read_text(encoding="utf-8")
    assert LABEL not in text
    rows = operator.fleet("fleet", "devices")
    assert {row["node"] for row in rows} >= {"liar-1"}
    assert operator.server_command("status")
