"""A device's own processes against a real SuperLink over TLS."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Array, ArrayRecord, ConfigRecord

from client.supervision.start import agent_facts
from tests.client.agents import backbones, manifest, order, write_device
from tests.client.servers import Authority
from tests.client.superlink import SuperLink, free_port, opened, started, superlink
from tinytrain_core import wire
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode
from tinytrain_core.orders import QUERY_SYNC, TRAIN_ORDER, Answer, SyncRequest, parse_answer

pytestmark = pytest.mark.usefixtures("flower_identity")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SuperLink]:
    with superlink(tmp_path_factory.mktemp("server") / "fleet") as running:
        yield running


def enrolled(folder: Path, server: SuperLink, **agent: Any) -> Path:
    file = write_device(
        folder, server=f"localhost:{server.port}", ca=str(server.authority.file), poll_s=0.2, idle_poll_s=0.2, **agent
    )
    key = ec.generate_private_key(ec.SECP384R1())
    form = serialization.PrivateFormat.OpenSSH
    (folder / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return file


def supervised(file: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        "from client.cli import main; main()",
        "run",
        str(file),
    ]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert what()


def said(folder: Path, text: str, wait_s: float = 60) -> str:
    """The line of the device's log in which it says so."""
    log, deadline = folder / "store" / "node.log", time.monotonic() + wait_s
    while time.monotonic() < deadline:
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        if found := [line for line in lines if text in line]:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8") if log.exists() else "no log")


def now_manifest(data: bytes, version: int) -> Any:
    return manifest(data, version, created=int(time.time()) - 60, expires=int(time.time()) + 86_400)


def records(request: SyncRequest, data: bytes | None = None) -> dict[str, Any]:
    plain: dict[str, Any] = {wire.REQUEST_RECORD: ConfigRecord(request.model_dump())}
    if data is not None:
        array = Array(np.frombuffer(data, dtype=np.uint8))
        plain[wire.BACKBONE_RECORD] = ArrayRecord({wire.BACKBONE_ARRAY: array})
    return plain


def answered(server: SuperLink, run: int, node: int, kind: str, sent: dict[str, Any]) -> Answer:
    reply = server.reply(run, server.push(run, node, kind, sent))
    assert reply.has_content()
    return parse_answer({name: dict(record) for name, record in reply.content.metric_records.items()})


def test_orders_over_tls_and_a_node_that_is_killed(server: SuperLink, tmp_path: Path) -> None:
    data = backbones(1)[0]
    file = enrolled(tmp_path, server)
    node = server.register(tmp_path / "key")
    run = server.run()
    process = supervised(file)
    try:
        said(tmp_path, f"online as node {node}")
        answer = answered(server, run, node, TRAIN_ORDER, records(order(now_manifest(data, 1), hold_s=50.0), data))
        assert (answer.status.version, answer.status.refused, len(answer.deliveries)) == (1, 0, 1)
        report_id = answer.deliveries[0].envelope.report_id
        child = int(said(tmp_path, "the node has been started").partition('"pid": ')[2].rstrip("}"))
        os.kill(child, signal.SIGKILL)
        again = SyncRequest(digest=digest(data))
        answer = answered(server, run, node, QUERY_SYNC, records(again))  # at once: no two minutes of waiting
        assert (answer.status.holds_backbone, answer.status.restarts) == (1, 1)
        assert [d.envelope.report_id for d in answer.deliveries] == [report_id]
        answer = answered(server, run, node, QUERY_SYNC, records(SyncRequest(acknowledged=[report_id])))
        assert answer.deliveries == ()
        hostile = {"code": ConfigRecord({"run": "import os; os.system('touch /tmp/owned')"})}
        answer = answered(server, run, node, "train.steal", hostile)
        assert answer.status.refused == ErrorCode.REQUEST
        held = server.push(run, node, QUERY_SYNC, records(SyncRequest(hold_s=3.0)))
        time.sleep(1.0)
        server.finish(run)
        other = server.run()
        answer = answered(server, other, node, QUERY_SYNC, records(SyncRequest()))
        assert answer.status.version == 1
        said(tmp_path, "nobody waits any more")
        assert held
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@contextmanager
def closing_at_once(port: int) -> Iterator[None]:
    """A proxy whose server is away: it accepts, and closes."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        listening.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    listening.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def test_a_server_that_is_killed_and_a_proxy_that_closes(tmp_path: Path) -> None:
    data = backbones(1)[0]
    (tmp_path / "fleet").mkdir()
    authority, port = Authority(tmp_path / "fleet", "fleet"), free_port()
    with started(tmp_path / "fleet", authority, port) as process:
        server = opened(tmp_path / "fleet", authority, port)
        file = enrolled(tmp_path, server)
        number, run = server.register(tmp_path / "key"), server.run()
        node = supervised(file)
        said(tmp_path, f"online as node {number}")
        request = order(now_manifest(data, 1), settings={"steps": 60}, hold_s=300.0)
        server.push(run, number, TRAIN_ORDER, records(request, data))
        said(tmp_path, "order 1.1 is accepted")
        process.kill()
        process.wait()
    try:
        with closing_at_once(port):
            said(tmp_path, "does not speak TLS")
            wait_until(lambda: agent_facts(file)["reports waiting"] == 1)  # it went on by itself
        with started(tmp_path / "fleet", authority, port):
            again = server.run()
            answer = answered(server, again, number, QUERY_SYNC, records(SyncRequest()))
            assert [d.report.error for d in answer.deliveries] == [0]
            assert answer.status.restarts == 0
    finally:
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0


def test_a_key_that_is_not_registered_is_told(server: SuperLink, tmp_path: Path) -> None:
    process = supervised(enrolled(tmp_path, server))
    try:
        assert "not registered" in said(tmp_path, "no contact")
        assert server.register(tmp_path / "key")
        said(tmp_path, "online as node")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
