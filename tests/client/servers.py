"""Real TLS servers on loopback, with certificates of all kinds."""

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey
Respond = Callable[[BaseHTTPRequestHandler, bytes], None]


def certificate(
    subject: str, key: Key, issuer: str, signer: Key, days: tuple[int, int] = (-1, 30), ca: bool = False
) -> x509.Certificate:
    """A certificate for a name, valid between two days from now."""
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    builder = builder.add_extension(usage, critical=True)
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


class Authority:
    """A CA, and servers that it vouches for."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._key = folder, name, ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.crt"
        own = certificate(name, self._key, name, self._key, ca=True)
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str, days: tuple[int, int] = (-1, 30)) -> tuple[Path, Path]:
        """A server's certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = certificate(host, key, self._name, self._key, days)
        files = self._folder / f"{host}{days[1]}.pem", self._folder / f"{host}{days[1]}.key"
        files[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return files


@contextmanager
def serving(files: tuple[Path, Path] | None, clock_off_s: float = 0.0, date: str = "") -> Iterator[int]:
    """A server of HTTPS, or of HTTP without certificates, whose clock may be off or say `date`; its port."""

    class Handler(BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            now = datetime.datetime.now(datetime.UTC).timestamp()
            return date or formatdate(now + clock_off_s, usegmt=True)

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with listening(files, Handler) as port:
        yield port


@contextmanager
def answering(
    files: tuple[Path, Path] | None, respond: Callable[[BaseHTTPRequestHandler, bytes], None]
) -> Iterator[int]:
    """A server that answers every POST as `respond` does, which has the request and its content; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            respond(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None:
            pass

    with listening(files, Handler) as port:
        yield port


def say(handler: BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str) -> None:
    """Answer a request."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def listening(files: tuple[Path, Path] | None, handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """A server in threads of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True  # some never end what they say
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
