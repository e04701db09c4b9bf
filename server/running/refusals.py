"""What the operator is told when a machine is turned away: a sentence in place of what SuperLink and proxy log.

A SuperLink says why only where a node connects. Its 401 has several causes; the proxy's log, which has the key and
the signed time of refused requests, tells them apart.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

AHEAD_S, BEHIND_S = 5.0, 305.0  # of a node's clock, as the SuperLink allows
QUIET_S = 600.0  # in which the same refusal is not told again
MOST_REMEMBERED = 1_000
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\n?", re.DOTALL)
_ACCESS = re.compile(r'\[uvicorn\.access\] (?P<address>\S+):\d+ - "POST (?P<path>/v1/fleet/\S+) HTTP[^"]*" 401')
_CLIENT = re.compile(r"client: (?P<address>[0-9a-fA-F.:]+)")
_TLS = {
    "alert unknown ca": "does not trust this server's certificate: it was enrolled with another authority, or before a "
    "new one was made; `node remove` it, `node add` it again and enrol it with the new bundle",
    "alert certificate expired": "says that the server's certificate has expired; `tinytrain-server pki renew`, unless "
    "its clock is wrong",
    "alert bad certificate": "does not accept the server's certificate: it dialled a name that the certificate is not "
    "for; `tinytrain-server pki renew --name NAME`",
    "plain HTTP request was sent to HTTPS port": "spoke HTTP without TLS; a node never does",
}
NameOf = Callable[[str], str | None]


@dataclass(frozen=True)
class Refusal:
    """Somebody was turned away.

    Attributes:
        kind: in one word.
        who: a node's name, the fingerprint of a key, or an address.
        text: what the operator reads.
    """

    kind: str
    who: str
    text: str


def _fingerprint(pem: str) -> str:
    digest = hashlib.sha256(pem.strip().encode()).hexdigest()[:16]
    return f"with key {digest}"


def _unregistered(who: str, where: str) -> Refusal:
    return Refusal(
        "unregistered",
        who,
        f"a machine {who}{where} was turned away: its key is not registered, or was removed; `tinytrain-server node "
        "list` shows whose are",
    )


def from_superlink(text: str, name_of: NameOf) -> Refusal | None:
    """The refusal that a line of the SuperLink's log is, if it is one.

    Args:
        name_of: the node that has a public key in PEM, if one has.
    """
    if "[ApiError:2004]" in text or "[ApiError:2001]" in text:
        found = _PEM.search(text.replace("\\n", "\n"))
        pem = found[0] if found else ""
        name = name_of(pem)
        if "could not be activated" not in text:
            return _unregistered(name or _fingerprint(pem), "")
        who = name or _fingerprint(pem)
        return Refusal(
            "online",
            who,
            f"node {who} was asked to wait: its last connection still counts, for up to 60 s after it broke. If this "
            "goes on, two machines have the same key",
        )
    if found := _ACCESS.search(text):
        address = found["address"]
        return Refusal(
            "401",
            address,
            f"a machine at {address} was turned away: its clock is wrong by more than {AHEAD_S:.0f} s ahead or "
            f"{BEHIND_S:.0f} s behind, its key was removed, or its signature does not fit; with a proxy in front, the "
            "log says which",
        )
    return None


def _signed(entry: dict[str, Any]) -> tuple[str, float] | None:
    """The key of a refused request, in PEM, and by how much its clock is ahead in seconds."""
    try:
        pem = base64.b64decode(entry["key"], validate=True).decode("ascii")
        ahead_s = datetime.fromisoformat(entry["signed"]).timestamp() - float(entry["at"])
    except (KeyError, ValueError, TypeError, binascii.Error):
        return None
    return pem, ahead_s


def _why_401(entry: dict[str, Any], name_of: NameOf) -> Refusal:
    address = entry.get("address", "?")
    signed = _signed(entry)
    if signed is None:
        return Refusal("anonymous", address, f"somebody at {address} without a node's signature was turned away")
    pem, ahead_s = signed
    name = name_of(pem)
    if not -BEHIND_S < ahead_s < AHEAD_S:
        way = "ahead" if ahead_s > 0 else "behind"
        who = f"node {name}" if name else f"a machine {_fingerprint(pem)}"
        return Refusal(
            "clock",
            who,
            f"{who} at {address} was turned away: its clock is {abs(ahead_s):.0f} s {way}, and at most {AHEAD_S:.0f} s "
            f"ahead or {BEHIND_S:.0f} s behind is allowed; set it, as by NTP",
        )
    if name is None:
        return _unregistered(_fingerprint(pem), f" at {address}")
    return Refusal(
        "signature",
        name,
        f"node {name} at {address} was turned away: its signature is wrong, or it is not registered yet or any more",
    )


def from_proxy(line: str, name_of: NameOf) -> Refusal | None:
    """The refusal that a line of the proxy's access log is, if it is one."""
    try:
        entry = json.loads(line)
        status, address, path = int(entry["status"]), str(entry["address"]), str(entry["path"])
    except (ValueError, TypeError, KeyError):
        return None
    if status == 401:
        return _why_401(entry, name_of)
    if status in (403, 404):
        return Refusal("path", address, f"somebody at {address} asked for {path[:100]}, which is not for devices")
    if status == 413:
        size = entry.get("received", "?")
        return Refusal(
            "size", address, f"a message of {size} bytes from {address} to {path[:100]} was refused: too big"
        )
    if status == 503 and not entry.get("upstream"):
        return Refusal("rate", address, f"{address} makes more requests than the proxy allows; it was told to wait")
    return None


def from_proxy_error(line: str) -> Refusal | None:
    """The refusal that a line of the proxy's error log is, if it is one."""
    for alert, text in _TLS.items():
        if alert in line:
            found = _CLIENT.search(line)
            address = found["address"] if found else "?"
            return Refusal("tls", address, f"a machine at {address} {text}")
    return None


@dataclass
class Told:
    """Which refusals were told lately, so that a machine that tries every second does not fill the log."""

    at: dict[tuple[str, str], float] = field(default_factory=dict)

    def is_new(self, refusal: Refusal, now_s: float) -> bool:
        """Whether to tell of it now, by a clock that nobody sets."""
        key = refusal.kind, refusal.who
        if now_s - self.at.get(key, -math.inf) < QUIET_S:
            return False
        self.at.pop(key, None)
        self.at[key] = now_s
        if len(self.at) > MOST_REMEMBERED:
            del self.at[next(iter(self.at))]
        return True
