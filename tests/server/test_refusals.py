"""What the operator reads when a machine is turned away, from lines as Flower and nginx write them."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.running.logs import parse_line
from server.running.refusals import QUIET_S, Refusal, Told, from_proxy, from_proxy_error, from_superlink
from server.running.tail import Tail
from tinytrain_core.node_key import make_key, public_of, public_pem

PEM = public_pem(public_of(make_key())).decode()
STRANGER = public_pem(public_of(make_key())).decode()
AT_S = 1_800_000_000.0
ACTIVATE = "/v1/fleet/activate-node"


def name_of(pem: str) -> str | None:
    return "gate-1" if pem.strip() == PEM.strip() else None


def api_error(pem: str, why: str) -> str:
    """A line of the SuperLink, with its colour."""
    text = f"Attempted to register SuperNode with public key: {pem.encode()!r}, exception: {why}"
    return f"\x1b[91mERROR \x1b[0m:     [{ACTIVATE}][ApiError:2004] {text}\n"


def access(status: int = 401, pem: str = PEM, ahead_s: float = 0.0, **fields: Any) -> str:
    """A line of the proxy's access log."""
    signed = datetime.fromtimestamp(AT_S + ahead_s, UTC).isoformat()
    entry = {"at": AT_S, "address": "10.0.0.9", "path": ACTIVATE, "status": status, "upstream": str(status)}
    return json.dumps(entry | {"key": base64.b64encode(pem.encode()).decode(), "signed": signed} | fields)


def superlink(line: str) -> Refusal:
    found = from_superlink(parse_line(line)[1], name_of)
    assert found is not None
    return found


def proxy(line: str) -> Refusal:
    found = from_proxy(line, name_of)
    assert found is not None
    return found


def test_an_unregistered_key_is_told_from_a_node_that_is_still_online() -> None:
    stranger = superlink(api_error(STRANGER, "No SuperNode found with the given public key."))
    assert stranger.kind == "unregistered"
    assert "not registered" in stranger.text
    early = superlink(api_error(PEM, "SuperNode with node ID 7 could not be activated."))
    assert (early.kind, early.who) == ("online", "gate-1")


def test_a_401_without_a_proxy_names_the_address_and_all_causes() -> None:
    line = '2026-11-23T03:14:24.403Z INFO [uvicorn.access] 10.0.0.9:35606 - "POST /v1/fleet/pull-messages HTTP/1.1" 401'
    found = superlink(line)
    assert found.who == "10.0.0.9"
    assert "clock" in found.text
    assert "key" in found.text


@pytest.mark.parametrize(("ahead_s", "way"), [(3_600, "3600 s ahead"), (-3_600, "3600 s behind"), (6, "6 s ahead")])
def test_a_wrong_clock_is_told_with_its_difference(ahead_s: float, way: str) -> None:
    found = proxy(access(ahead_s=ahead_s))
    assert (found.kind, found.who) == ("clock", "node gate-1")
    assert way in found.text


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (access(pem=STRANGER), "unregistered"),
        (access(ahead_s=-300), "signature"),
        (access(key="", signed=""), "anonymous"),
        (access(key="%%", signed="now"), "anonymous"),
        (access(404, path="/v1/control/start-run"), "path"),
        (access(413, received=2_000_000), "size"),
        (access(503, upstream=""), "rate"),
    ],
)
def test_the_proxys_log_tells_causes_apart(line: str, kind: str) -> None:
    assert proxy(line).kind == kind


@pytest.mark.parametrize(
    "line", [access(200), access(412), access(503, upstream="502"), "{", "null", "[]", '{"status":1}']
)
def test_what_is_no_refusal_is_not_told(line: str) -> None:
    assert from_proxy(line, name_of) is None


def test_another_authority_is_seen_in_the_handshake() -> None:
    line = (
        "2026/11/23 03:30:00 [info] 5#5: *1 SSL_do_handshake() failed (SSL: error:0A000418:SSL routines::tlsv1 alert "
        "unknown ca:SSL alert number 48) while SSL handshaking, client: 10.0.0.9, server: 0.0.0.0:443"
    )
    found = from_proxy_error(line)
    assert found is not None
    assert found.who == "10.0.0.9"
    assert "another authority" in found.text
    assert from_proxy_error("2026/11/23 03:30:00 [info] 5#5: *1 client 10.0.0.9 closed keepalive connection") is None


@given(st.text())
def test_no_line_breaks_the_reader(line: str) -> None:
    from_proxy_error(line)
    from_proxy(line, name_of)
    from_superlink(parse_line(line)[1], name_of)


def test_the_same_refusal_is_told_once_in_a_while() -> None:
    told, one, other = Told(), Refusal("clock", "a", "1"), Refusal("clock", "b", "2")
    assert told.is_new(one, 0)
    assert not told.is_new(one, QUIET_S - 1)
    assert told.is_new(other, 1)
    assert told.is_new(one, QUIET_S)


def test_a_file_is_followed_over_its_being_emptied_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    tail = Tail(file)
    assert tail.lines() == []
    with file.open("a") as stream:
        stream.write("one\nhal")
    assert tail.lines() == ["one"]
    with file.open("a") as stream:
        stream.write("f\n")
    assert tail.lines() == ["half"]
    file.write_text("new\n")
    assert tail.lines() == ["new"]
    file.rename(tmp_path / "log.1")
    assert tail.lines() == []
    file.write_text("another file, from its beginning\n")
    assert tail.lines() == ["another file, from its beginning"]
