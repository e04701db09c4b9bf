"""The enrol bundle: what goes in comes out, and a damaged one is noticed whatever the damage."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.pki.certificates import make_authority, make_server
from tests.releases import trust_of
from tinytrain_core.enrolment import (
    EnrolledDevice,
    Enrolment,
    _checksum,
    parse_enrolment,
    read_enrolment,
    write_enrolment,
)
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.node_key import make_key, public_of

AUTHORITY = make_authority("a fleet", 10, datetime.now(UTC))
KEY = make_key()


def enrolment(**changes: Any) -> Enrolment:
    fields: dict[str, Any] = {
        "node": "gate-1",
        "server": "fleet.example.org:443",
        "ca": AUTHORITY.certificate_pem.decode(),
        "public_key": public_of(KEY),
        "private_key": KEY,
        "devices": (EnrolledDevice(number=1, profile="pi_4"), EnrolledDevice(number=2, profile="stm32h743")),
        "trust": trust_of(1, 2, 3),
    }
    return Enrolment(**{**fields, **changes})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    for given_key in (KEY, None):
        bundle = enrolment(private_key=given_key)
        write_enrolment(tmp_path / "x.enrol", bundle)
        assert read_enrolment(tmp_path / "x.enrol") == bundle
        assert stat.S_IMODE((tmp_path / "x.enrol").stat().st_mode) == 0o600


def test_a_printed_bundle_shows_no_secret() -> None:
    assert KEY not in repr(enrolment())
    assert "PRIVATE" not in str(enrolment())


DATA = enrolment().to_bytes()


@given(cut=st.integers(0, len(DATA) - 3))
def test_a_bundle_that_was_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(ConfigurationError, match="not the whole"):
        parse_enrolment(DATA[:cut], "it")


@given(position=st.integers(0, len(DATA) - 1), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_means_nothing(position: int, flip: int) -> None:
    changed = bytearray(DATA)
    changed[position] ^= flip
    try:
        read = parse_enrolment(bytes(changed), "it")
    except ConfigurationError:
        return
    assert read == enrolment()  # white space


def resealed(**changes: Any) -> bytes:
    """A bundle whose author changed fields and made the checksum fit."""
    fields = json.loads(DATA) | changes
    del fields["checksum"]
    return json.dumps(fields | {"checksum": _checksum(fields)}).encode()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 2}, "schema 2, this program reads schema 1"),
        ({"extra": 1}, "extra"),
        ({"node": "../up"}, "node"),
        ({"server": "no-port"}, "server"),
        ({"devices": []}, "devices"),
        ({"devices": [{"number": 1, "profile": "pi_4"}] * 2}, "2 devices have 1 numbers"),
        ({"public_key": public_of(make_key())}, "not that of the public key"),
        ({"private_key": "nonsense"}, "private key is not a NIST EC key"),
        ({"ca": "nonsense"}, "ca"),
        ({"trust": {"line": "main", "threshold": 1, "keys": {}}}, r"trust\.keys"),
    ],
)
def test_a_bundle_that_makes_no_sense_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as refused:
        parse_enrolment(resealed(**changes), "it")
    assert KEY not in str(refused.value)


def test_the_certificate_of_a_server_is_no_authority() -> None:
    server = make_server(AUTHORITY, ["localhost"], 5, datetime.now(UTC))
    with pytest.raises(ConfigurationError, match="not that of an authority"):
        parse_enrolment(resealed(ca=server.certificate_pem.decode()), "it")


def test_a_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_enrolment(tmp_path / "nowhere")
    (tmp_path / "long").write_bytes(b" " * 2**20)
    with pytest.raises(ConfigurationError, match="at most 262144"):
        read_enrolment(tmp_path / "long")
