"""nginx in front of a real SuperLink: what devices reach, what they do not, and what the operator reads of it."""

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from http.client import HTTPSConnection
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.node_pb2 import Node as FlowerNode
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode import node_auth_http_interceptor as signing
from flwr.supernode.fleet_http_client import FleetHttpClient

from server.fleet.config import FleetConfig
from server.fleet.database import Database
from server.fleet.nodes import Node, find_node, insert_nodes
from server.pki import folder as pki
from server.running.flower_programs import is_healthy
from server.running.proxy import ProxySettings, render
from tests.server.running import (
    HAS_FLOWER,
    NGINX,
    Server,
    fleet_on_loopback,
    running_proxy,
    running_server,
    wait_for,
)
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.node_key import make_key, public_of

pytestmark = [
    pytest.mark.skipif(not HAS_FLOWER, reason="needs Flower's programs beside Python"),
    pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light"),
]
KEY = make_key()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = fleet_on_loopback(tmp_path_factory.mktemp("proxy") / "fleet", poll_s=0.5)
    with running_proxy(config), running_server(config) as server:
        wait_for("the SuperLink", lambda: server.running("superlink") and is_healthy(config, 1))
        yield server


@pytest.fixture
def config(server: Server) -> FleetConfig:
    return server.config


def client(config: FleetConfig, private_key: str) -> FleetHttpClient:
    key = load_ssh_private_key(private_key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    version, signature = (
        RuntimeVersionHttpInterceptor("SuperNode"),
        signing.NodeAuthHttpInterceptor(key, key.public_key()),
    )
    ca = (config.pki / pki.CA_CERTIFICATE).read_bytes()
    return FleetHttpClient.from_server_address(config.address, False, ca, [version, signature])


def activate(config: FleetConfig, private_key: str) -> int:
    key = load_ssh_private_key(private_key.encode(), None)
    public = public_key_to_bytes(key.public_key())  # type: ignore[arg-type]
    with client(config, private_key) as connection:
        return connection.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=30)).node_id


def post(config: FleetConfig, path: str, body: bytes = b"", method: str = "POST") -> int:
    context = ssl.create_default_context(cafile=str(config.pki / pki.CA_CERTIFICATE))
    host, _, port = config.address.rpartition(":")
    connection = HTTPSConnection(host, int(port), timeout=30, context=context)
    try:
        connection.request(method, path, body, {"Content-Type": "application/protobuf"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_node_that_is_added_comes_in_through_the_proxy(config: FleetConfig) -> None:
    with Database(config.database) as database:
        with database.transaction() as connection:
            insert_nodes(connection, [Node(name="gate-1", public_key=public_of(KEY))])
        wait_for("its registration", lambda: find_node(database, "gate-1").node_id)
        node_id = find_node(database, "gate-1").node_id
    assert activate(config, KEY) == node_id
    with client(config, KEY) as connection:
        answer = connection.PullMessages(PullMessagesRequest(node=FlowerNode(node_id=node_id)))
    assert not answer.messages_list


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/list-runs",
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/get-fab",
        "/v1/fleet/pull-messages/",
        "/v1/fleet/../control/list-runs",
        "/v1/fleet/pull-messages/..%2f..%2fcontrol/list-runs",
        "/V1/FLEET/PULL-MESSAGES",
        "/docs",
        "/openapi.json",
        "/",
    ],
)
def test_nothing_but_the_paths_of_devices_is_reached(config: FleetConfig, path: str) -> None:
    assert post(config, path) == 404
    assert post(config, path, method="GET") == 404


def test_a_device_in_trouble_sees_how_far_it_gets(config: FleetConfig) -> None:
    assert post(config, "/health", method="GET") == 204


def test_what_is_too_big_or_not_signed_is_refused(config: FleetConfig) -> None:
    assert post(config, "/v1/fleet/push-object", bytes(2**20 + 1)) == 413
    assert post(config, "/v1/fleet/pull-messages") == 401
    assert post(config, "/v1/fleet/pull-messages", method="GET") == 404


def test_one_address_cannot_take_all_of_the_proxys_memory(tmp_path: Path) -> None:
    own = fleet_on_loopback(tmp_path / "fleet")
    head = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    context = ssl.create_default_context(cafile=str(own.pki / pki.CA_CERTIFICATE))
    host, _, port = own.address.rpartition(":")
    with running_proxy(own), ExitStack() as opened:
        for _ in range(ProxySettings().connections + 1):
            connection = context.wrap_socket(socket.create_connection((host, int(port)), 30), server_hostname=host)
            opened.enter_context(connection)
            connection.sendall(head + bytes(1_000))
        assert b"503" in connection.recv(100)
    buffered = re.search(r"client_body_buffer_size (\d+)k;", render(own))
    assert buffered
    assert int(buffered[1]) * 2**10 * ProxySettings().connections <= 16 * 2**20


def test_the_operator_reads_who_was_refused_and_why(
    server: Server, config: FleetConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="412"):
        activate(config, make_key())
    with pytest.raises(httpx.HTTPStatusError, match="404"), client(config, KEY) as connection:
        connection.RegisterNode(RegisterNodeFleetRequest(public_key=b"mine"))
    now = signing.now
    monkeypatch.setattr(signing, "now", lambda: now() + timedelta(hours=1))
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        activate(config, KEY)
    monkeypatch.undo()
    with pytest.raises(ssl.SSLCertVerificationError):
        distrusts(config)
    for text in (
        "its key is not registered",
        "its clock is 3600 s ahead",
        "which is not for devices",
        "it was enrolled with another authority",
    ):
        wait_for(text, lambda text=text: text in server.log())


def distrusts(config: FleetConfig) -> None:
    """Dial as a machine that was enrolled with another authority."""
    host, _, port = config.address.rpartition(":")
    HTTPSConnection(host, int(port), timeout=30).connect()


def test_keys_are_logged_of_refused_requests_only(config: FleetConfig) -> None:
    text = (config.state / "logs" / "proxy.jsonl").read_text(encoding="utf-8")
    accepted = [line for line in text.splitlines() if re.search(r'"status":2\d\d', line)]
    assert accepted
    assert all('"key":"","signed":""' in line for line in accepted)


def test_paths_that_nginx_cannot_be_told_of_are_refused(tmp_path: Path) -> None:
    good = FleetConfig(folder=tmp_path / "a fleet; {} #", address="[::1]:443")
    text = render(good, ProxySettings(listen="[::1]:8443", body="2m", log_all=True))
    assert "@" not in text.replace("@system", "")
    assert 'pki/server.crt";' in text
    with pytest.raises(ConfigurationError, match="quotes"):
        render(FleetConfig(folder=tmp_path / 'a"b', address="localhost:443"))


def test_nginx_finds_nothing_wrong(config: FleetConfig) -> None:
    assert NGINX
    file = config.state / "proxy" / "checked.conf"
    file.write_text(render(config, ProxySettings(listen="8443", log_all=True)), encoding="utf-8")
    done = subprocess.run([NGINX, "-t", "-e", "stderr", "-c", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
