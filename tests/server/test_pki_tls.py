"""Real TLS on loopback with the certificates that were made: who is believed, and who is not."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from server.fleet.config import FleetConfig
from server.pki import folder as pki
from server.pki.health import DAY_S
from tests.server.fleet_folders import make_fleet


def serve_once(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as stream:
        stream.sendall(b"hello")


@contextmanager
def server(fleet: FleetConfig) -> Iterator[int]:
    """A TLS server of one connection; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(fleet.pki / "server.crt", fleet.pki / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve_once, args=(listener, context))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def greeting(port: int, authority: Path, name: str) -> bytes:
    """What the server says to a client that checks as strictly as OpenSSL can."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=authority.read_text(encoding="ascii"))
    with (
        socket.create_connection(("127.0.0.1", port)) as connection,
        context.wrap_socket(connection, server_hostname=name) as stream,
    ):
        return stream.recv(16)


@pytest.mark.parametrize("name", ["fleet.example.org", "127.0.0.1", "localhost", "gate.local"])
def test_a_device_believes_its_server(tmp_path: Path, name: str) -> None:
    fleet = make_fleet(tmp_path, with_pki=False)
    pki.init(fleet, time.time(), ["gate.local"])
    with server(fleet) as port:
        assert greeting(port, fleet.pki / "ca.crt", name) == b"hello"


def test_a_renewed_certificate_is_believed_with_the_authority_of_before(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path)
    authority = tmp_path / "held.crt"
    authority.write_bytes((fleet.pki / "ca.crt").read_bytes())
    pki.renew(fleet, time.time(), ["new.example.org"])
    with server(fleet) as port:
        assert greeting(port, authority, "new.example.org") == b"hello"


def test_another_authority_is_refused(tmp_path: Path) -> None:
    fleet, other = make_fleet(tmp_path / "one"), make_fleet(tmp_path / "other")
    with server(other) as port, pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        greeting(port, fleet.pki / "ca.crt", "fleet.example.org")


def test_another_name_is_refused(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path)
    with server(fleet) as port, pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch"):
        greeting(port, fleet.pki / "ca.crt", "evil.example.org")


@pytest.mark.parametrize(("days", "reason"), [(-30, "expired"), (2, "not yet valid")])
def test_what_is_past_or_in_the_future_is_refused(tmp_path: Path, days: int, reason: str) -> None:
    fleet = make_fleet(tmp_path)
    pki.init(fleet, time.time() - 60 * DAY_S, force=True)
    pki.renew(fleet, time.time() + days * DAY_S, days=10)
    with server(fleet) as port, pytest.raises(ssl.SSLCertVerificationError, match=reason):
        greeting(port, fleet.pki / "ca.crt", "fleet.example.org")
