"""Where a program listens: `host:port`, with a name, an IPv4 address, or an IPv6 address in brackets."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
MAX_NAME = 253
MAX_PORT = 65_535


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            return ipaddress.IPv6Address(host[1:-1]).scope_id is None
        except ValueError:
            return False
    return len(host) <= MAX_NAME and _NAME.fullmatch(host) is not None


def _checked(text: str, least: int) -> str:
    host, _, port = text.rpartition(":")
    if not _is_host(host):
        raise ValueError(f"{host!r:.80} is no host; as fleet.example.org:443, 192.0.2.7:443 or [2001:db8::7]:443")
    if not _PORT.fullmatch(port) or not least <= int(port) <= MAX_PORT:
        raise ValueError(f"{port!r:.20} is no port from {least} to {MAX_PORT}")
    return text


HostPort = Annotated[str, AfterValidator(lambda text: _checked(text, 1))]  # what is dialled
Binding = Annotated[str, AfterValidator(lambda text: _checked(text, 0))]  # what is bound; 0 lets the system choose


def host_and_port(address: str) -> tuple[str, int]:
    """The host, without brackets, and the port of a valid address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
