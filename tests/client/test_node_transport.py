"""A server that has a good certificate and bad manners: redirects, bombs, endless and trickling answers."""

import gzip
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeResponse

from client.connection.identity import Identity
from client.connection.link import Link
from client.connection.messages import OfflineError, RefusedError
from client.connection.pace import Meanwhile, StoppedError
from client.connection.transport import CALL_BYTES
from tests.client.servers import Authority, Respond, answering, say

KEY = Identity(ec.generate_private_key(ec.SECP384R1()))


@contextmanager
def linked(folder: Path, respond: Respond, meanwhile: Meanwhile | None = None) -> Iterator[Link]:
    authority = Authority(folder, "fleet")
    with answering(authority.issue("localhost"), respond) as port:
        link = Link(f"localhost:{port}", authority.file, KEY, meanwhile=meanwhile)
        try:
            yield link
        finally:
            link._calls.hang_up()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, tmp_path: Path) -> None:
    asked: list[str] = []

    def other(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        asked.append(handler.path)
        say(handler, ActivateNodeResponse(node_id=7).SerializeToString())

    with (
        answering(None, other) as lan,
        linked(tmp_path, lambda handler, _: say(handler, b"", status, Location=f"http://127.0.0.1:{lan}/x")) as link,
        pytest.raises(RefusedError, match=f"HTTP {status}"),
    ):
        link.open()
    assert asked == []


def test_an_answer_without_a_number_is_no_number(tmp_path: Path) -> None:
    with linked(tmp_path, lambda handler, _: say(handler, b"")) as link, pytest.raises(OfflineError, match="no node"):
        link.open()


def test_the_environment_names_no_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    good = ActivateNodeResponse(node_id=2**63 + 1).SerializeToString()
    with linked(tmp_path, lambda handler, _: say(handler, good)) as link:
        assert link.open() == 2**63 + 1


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    bomb, asked = gzip.compress(b"\0" * 10_000_000), list[str | None]()

    def respond(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        asked.append(handler.headers["Accept-Encoding"])
        say(handler, bomb, Content_Encoding="gzip")

    with linked(tmp_path, respond) as link, pytest.raises(OfflineError, match="packs"):
        link.open()
    assert asked == ["identity"]


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_does_not_end_is_left(status: int, tmp_path: Path) -> None:
    sent = 0

    def respond(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        nonlocal sent
        handler.send_response(status)
        handler.end_headers()
        for _ in range(1_000):
            sent += handler.wfile.write(b"\0" * 2**20)

    with linked(tmp_path, respond) as link, pytest.raises(OfflineError, match=f"longer than {CALL_BYTES}"):
        link.open()
    assert sent < 100 * 2**20


def trickle(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(100_000):
        handler.wfile.write(b"\0")
        time.sleep(0.05)


def trickling_head(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    for letter in itertools.chain(b"HTTP/1.1 200 OK\r\n", itertools.repeat(ord("x"), 50_000)):
        handler.wfile.write(bytes([letter]))
        time.sleep(0.05)


def silence(_: BaseHTTPRequestHandler, __: bytes) -> None:
    time.sleep(3_600)


SLOW = [trickle, trickling_head, silence]


@pytest.mark.parametrize("slow", SLOW)
def test_a_trickle_has_an_end_and_the_device_its_turns(
    slow: Respond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.connection.pace.CALL_S", 2.0)
    turns: list[float] = []
    meanwhile = Meanwhile(lambda: turns.append(time.monotonic()))
    with linked(tmp_path, slow, meanwhile) as link, pytest.raises(OfflineError, match="too long"):
        link.open()
    assert len(turns) >= 2


@pytest.mark.parametrize("slow", SLOW)
def test_a_node_that_is_told_to_end_does_so_at_once(
    slow: Respond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.connection.pace.FAREWELL_S", 0.5)
    turns: list[float] = []
    meanwhile = Meanwhile(lambda: turns.append(0.0), lambda: len(turns) > 1)
    with linked(tmp_path, slow, meanwhile) as link:
        with pytest.raises(StoppedError):
            link.open()
        with pytest.raises(OfflineError, match="no time is left"):  # what is said after it has little time
            link.open()
