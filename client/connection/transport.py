"""HTTP over TLS to one server that may be slow, silent or hostile, while the device goes on with its own work.

Every answer has a most that it may be, and a time: small ones altogether, large ones by a least rate. A redirect is
not followed, nothing is unpacked, nothing of the environment is asked, and no other CA than the given one counts.
Sockets do not block: the device is given a turn at least every `TURN_S`, and told to stop it stops at once.
"""

import errno
import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpcore
import httpx

from client.connection.messages import OfflineError
from client.connection.pace import TURN_S, Meanwhile, Pace

Result = TypeVar("Result")

CONNECT_S = 10.0  # for one of a server's addresses
IDLE_S = 5.0  # that a connection is kept for the next call
CALL_BYTES = 256 * 2**10
KEPT_HEADERS = ("date",)


class TooMuchError(OfflineError):
    """An answer is longer than it may be."""


class _Stream(httpcore.NetworkStream):
    """A socket that does not block, and waits in turns."""

    def __init__(self, sock: socket.socket, pace: Pace) -> None:
        self._sock, self._pace = sock, pace

    def _done(self, operation: Callable[[], Result]) -> Result:
        while True:
            try:
                return operation()
            except (ssl.SSLWantReadError, BlockingIOError):
                select.select([self._sock], [], [], TURN_S)
            except ssl.SSLWantWriteError:
                select.select([], [self._sock], [], TURN_S)
            self._pace.check()

    def connect(self, address: Any) -> None:
        """Connect it.

        Raises:
            OSError: nobody takes the connection, or not within `CONNECT_S`.
        """
        until, code = time.monotonic() + CONNECT_S, self._sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            while not select.select([], [self._sock], [], TURN_S)[1]:
                self._pace.check()
                if time.monotonic() > until:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data = self._done(lambda: self._sock.recv(max_bytes))
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        self._pace.received(len(data))
        self._pace.check()
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            rest = memoryview(buffer)
            while rest:
                rest = rest[self._done(partial(self._sock.send, rest)) :]
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        wrapped = ssl_context.wrap_socket(self._sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        secured = _Stream(wrapped, self._pace)
        try:
            secured._done(wrapped.do_handshake)
        except BaseException:
            secured.close()
            raise
        return secured

    def get_extra_info(self, info: str) -> Any:
        """Whether there is something to read, which on an idle connection is its end."""
        return bool(select.select([self._sock], [], [], 0)[0]) if info == "is_readable" else None


@dataclass
class _Backend(httpcore.NetworkBackend):
    """Opens connections that keep a pace; only the look-up of a name has the system's own time."""

    pace: Pace

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self.pace.check()
            sock = socket.socket(family, kind, protocol)
            stream = _Stream(sock, self.pace)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                stream.connect(address)
                return stream
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise httpcore.ConnectError(str(failure))


class BoundedClient(httpx.Client):
    """What Flower's client sends its requests with.

    Args:
        most: says how many bytes the answer to a request may be; more than `CALL_BYTES` makes it a large one.
    """

    def __init__(self, context: ssl.SSLContext, meanwhile: Meanwhile, most: Callable[[httpx.Request], int]) -> None:
        self._pace, self._most = Pace(meanwhile), most
        transport = httpx.HTTPTransport(verify=context, trust_env=False)
        transport._pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=1, keepalive_expiry=IDLE_S, network_backend=_Backend(self._pace)
        )
        super().__init__(transport=transport, trust_env=False, follow_redirects=False, timeout=None)

    def send(self, request: httpx.Request, **_: Any) -> httpx.Response:
        """Send a request and read its answer, whole.

        Raises:
            TooMuchError: the answer is longer than it may be, or packed.
            StoppedError: the process ends.
            httpx.HTTPError: anything else that goes wrong.
        """
        most = self._most(request)
        request.headers["accept-encoding"] = "identity"
        self._pace.begin(large=most > CALL_BYTES)
        response = super().send(request, stream=True)
        try:
            content = _content(response, most)
        finally:
            response.close()
            self.cookies.clear()
        kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        return httpx.Response(response.status_code, headers=kept, content=content, request=request)


def _content(response: httpx.Response, most: int) -> bytes:
    if (packing := response.headers.get("content-encoding", "identity")) != "identity":
        raise TooMuchError(f"the server packs its answer ({packing!r:.40}), which nobody asked for")
    content = bytearray()
    for piece in response.iter_raw():
        content += piece
        if len(content) > most:
            raise TooMuchError(f"the server's answer is longer than {most} bytes")
    return bytes(content)
