"""Why a server cannot be reached, in one line for whoever looks at the device's log."""

import socket
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from pathlib import Path

import httpx

from client.connection.pace import Meanwhile
from client.connection.transport import CALL_BYTES, BoundedClient, TooMuchError

EARLIEST_S, LATEST_S = -5.0, 305.0  # how far behind and ahead of it the SuperLink lets a device's clock be
EXPIRED, NOT_YET, NAME_MISMATCH, ADDRESS_MISMATCH = 10, 9, 62, 64  # OpenSSL's X509_V_ERR_*


class Cause(Enum):
    """What is wrong."""

    NAME = "name"
    NOBODY = "nobody listens"
    SILENT = "silence"
    NOT_TLS = "not TLS"
    CA_FILE = "CA file"
    UNTRUSTED = "untrusted certificate"
    EXPIRED = "expired certificate"
    OTHER_NAME = "certificate of another name"
    CLOCK = "clock"
    KEY = "key"
    TOO_OLD = "server too old"
    ELSEWHERE = "redirected"
    SERVER = "the server's own trouble"
    NONE = "nothing"


@dataclass(frozen=True)
class Finding:
    """What is wrong, and the line that says so."""

    cause: Cause
    text: str


def _certificate(error: ssl.SSLCertVerificationError, server: str, ca: Path) -> Finding:
    code, words = error.verify_code, error.verify_message
    if code == EXPIRED:
        return Finding(Cause.EXPIRED, f"the certificate of {server} has expired, or this device's clock is ahead")
    if code == NOT_YET:
        return Finding(Cause.CLOCK, f"the certificate of {server} is not valid yet: this device's clock is behind")
    if code in (NAME_MISMATCH, ADDRESS_MISMATCH):
        return Finding(Cause.OTHER_NAME, f"the certificate of {server} is for another name: {words}")
    return Finding(Cause.UNTRUSTED, f"the certificate of {server} is not signed by the CA in {ca}: {words}")


def _clock(date: str | None, now_s: float) -> Finding | None:
    """Whether the server's clock says that this one is wrong."""
    try:
        behind_s = parsedate_to_datetime(date or "").timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    if EARLIEST_S < behind_s < LATEST_S:
        return None
    way = "behind" if behind_s > 0 else "ahead of"
    return Finding(
        Cause.CLOCK, f"this device's clock is {abs(behind_s):.0f} s {way} the server's; set it, as with an NTP client"
    )


def _refusal(status: int | None, server: str) -> Finding:
    """What it means that the server can be talked to and does not let this node in."""
    if status is not None and 300 <= status < 400:
        return Finding(
            Cause.ELSEWHERE,
            f"{server} answers HTTP {status}: it sends this device elsewhere, where it does not go; no SuperLink does "
            "that, so a proxy or another server has the address",
        )
    if status in (404, 405, 415, 426, 501):
        return Finding(
            Cause.TOO_OLD,
            f"{server} answers HTTP {status}: no SuperLink of this version, or a proxy that does not pass /v1/fleet/",
        )
    if status in (401, 403, 412):
        return Finding(
            Cause.KEY,
            f"{server} does not let this node's key in (HTTP {status}): it is not registered, or its last connection "
            "is not over yet, which takes two minutes at most; `tinytrain-server node list` shows what is registered",
        )
    if status is not None and status >= 500:
        return Finding(
            Cause.SERVER, f"{server} answers HTTP {status}: it, or what it stands behind, has trouble of its own"
        )
    return Finding(Cause.NONE, f"{server} can be reached, its certificate and both clocks are right")


def diagnose(
    host: str, port: int, ca: Path, now_s: float, status: int | None = None, meanwhile: Meanwhile | None = None
) -> Finding:
    """Find out why talking to a server fails.

    Args:
        status: HTTP's, where the server has answered, and not with what was asked for.
        meanwhile: what the device does while it waits for the server.

    Raises:
        StoppedError: the process ends.
    """
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        return Finding(Cause.CA_FILE, f"the CA's certificate {ca} cannot be read: {error}")
    try:
        date = _date(server, context, meanwhile or Meanwhile())
    except socket.gaierror as error:
        return Finding(Cause.NAME, f"the name {host} cannot be resolved: {error.strerror}")
    except (httpx.InvalidURL, UnicodeError, OverflowError) as error:
        return Finding(Cause.NAME, f"{server} cannot be an address: {error}")
    except ssl.SSLCertVerificationError as error:
        return _certificate(error, server, ca)
    except ssl.SSLError as error:
        return Finding(Cause.NOT_TLS, f"{server} does not speak TLS as this device does: {error.reason or error}")
    except (OSError, httpx.ConnectError) as error:
        return Finding(Cause.NOBODY, f"nobody listens at {server}: {error}")
    except httpx.TimeoutException as error:
        return Finding(Cause.SILENT, f"{server} does not answer in time: {error}")
    return _clock(date, now_s) or _refusal(status, server)


def _date(server: str, context: ssl.SSLContext, meanwhile: Meanwhile) -> str | None:
    """The time by the server's clock, as it says in a header of whatever it answers."""
    with BoundedClient(context, meanwhile, lambda _: CALL_BYTES) as client:
        try:
            date: str | None = client.get(f"https://{server}/health").headers.get("date")
            return date
        except (httpx.ConnectError, httpx.TimeoutException):
            raise
        except (httpx.HTTPError, TooMuchError):
            return None
