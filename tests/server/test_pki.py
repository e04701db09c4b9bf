"""The files of `pki init` and `pki renew`, what is in them, and what is said about them."""

import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.fleet.config import FleetConfig
from server.pki import cli as pki_cli
from server.pki import folder as pki
from server.pki.certificates import hosts
from server.pki.health import DAY_S, files, warnings
from tests.server.fleet_folders import call, make_fleet, printed
from tinytrain_core.errors import ConfigurationError

NOW = 1_764_000_000.0


@pytest.fixture
def fleet(tmp_path: Path) -> FleetConfig:
    config = make_fleet(tmp_path / "fleet", with_pki=False)
    pki.init(config, NOW, ["gate.local", "192.0.2.7"], days=100, ca_days=3_000)
    return config


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def certificate(fleet: FleetConfig, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((fleet.pki / name).read_bytes())


def test_keys_are_their_owners_alone(fleet: FleetConfig) -> None:
    assert {path.name: mode(path) for path in fleet.pki.iterdir()} == {
        "ca.key": 0o600, "server.key": 0o600, "ca.crt": 0o644, "server.crt": 0o644,
    }  # fmt: skip
    assert mode(fleet.pki) == 0o700


def test_the_authority_signs_servers_and_nothing_else(fleet: FleetConfig) -> None:
    ca = certificate(fleet, "ca.crt")
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    ca.verify_directly_issued_by(ca)


def test_the_server_certificate_is_for_every_way_to_dial_it(fleet: FleetConfig) -> None:
    server, ca = certificate(fleet, "server.crt"), certificate(fleet, "ca.crt")
    names = ["fleet.example.org", "gate.local", "192.0.2.7", "127.0.0.1", "localhost", "::1"]
    assert hosts(server) == names
    alternative = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in alternative.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "127.0.0.1", "::1"]
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    signer = server.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert signer == ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    server.verify_directly_issued_by(ca)
    assert server.not_valid_after_utc.timestamp() == NOW + 100 * DAY_S


def test_a_server_certificate_does_not_outlive_its_authority(fleet: FleetConfig) -> None:
    pki.renew(fleet, NOW, days=20_000)
    assert certificate(fleet, "server.crt").not_valid_after_utc == certificate(fleet, "ca.crt").not_valid_after_utc


def test_nothing_is_written_over_unless_forced(fleet: FleetConfig) -> None:
    before = {path.name: path.read_bytes() for path in fleet.pki.iterdir()}
    with pytest.raises(ConfigurationError, match=r"ca\.key.*pki renew"):
        pki.init(fleet, NOW)
    assert {path.name: path.read_bytes() for path in fleet.pki.iterdir()} == before
    pki.init(fleet, NOW, force=True)
    assert all(path.read_bytes() != before[path.name] for path in fleet.pki.iterdir())


def test_renewing_keeps_the_authority_and_the_names(fleet: FleetConfig) -> None:
    before = {path.name: path.read_bytes() for path in fleet.pki.iterdir()}
    assert {"gate.local", "192.0.2.7", "new.example.org"} <= set(pki.renew(fleet, NOW + DAY_S, ["new.example.org"]))
    after = {path.name: path.read_bytes() for path in fleet.pki.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"server.crt", "server.key"}
    assert warnings(fleet, NOW) == []


@pytest.mark.parametrize("name", ["", "two words", "fleet.example.org:443", "-x", "münchen.de", "a" * 300])
def test_what_is_no_host_is_refused(fleet: FleetConfig, name: str) -> None:
    if name:
        with pytest.raises(ConfigurationError, match="neither an IP address nor a DNS name"):
            pki.renew(fleet, NOW, [name])
    else:
        assert "" not in pki.renew(fleet, NOW, [name])


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (69, []),
        (71, ["server.crt expires in 29 days"]),
        (101, ["server.crt expired 1 days ago"]),
        (2_821, ["ca.crt expires in 179 days", "server.crt expired"]),
        (3_001, ["ca.crt expired 1 days ago", "server.crt expired"]),
    ],
)
def test_the_operator_is_warned_in_time(fleet: FleetConfig, days: int, expected: list[str]) -> None:
    found = warnings(fleet, NOW + days * DAY_S)
    assert len(found) == len(expected)
    assert all(part in text for part, text in zip(expected, found, strict=True))


def test_what_does_not_go_together_is_noticed(fleet: FleetConfig, tmp_path: Path) -> None:
    other = make_fleet(tmp_path / "other", with_pki=False)
    pki.init(other, NOW)
    (fleet.pki / "server.key").chmod(0o644)
    (fleet.pki / "server.key").write_bytes((other.pki / "server.key").read_bytes())
    (fleet.pki / "ca.crt").write_bytes((other.pki / "ca.crt").read_bytes())
    moved = fleet.model_copy(update={"address": "elsewhere.example.org:443"})
    texts = "\n".join(warnings(moved, NOW))
    for expected in ("mode 644", "chmod 600", "not the key", "not signed by ca.crt", "not for elsewhere.example.org"):
        assert expected in texts
    with pytest.raises(ConfigurationError, match=r"ca\.key is not the key of ca\.crt"):
        pki.renew(fleet, NOW)


def test_damaged_and_missing_files_are_named(fleet: FleetConfig) -> None:
    (fleet.pki / "server.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    assert "server.crt is not a certificate" in warnings(fleet, NOW)[0]
    (fleet.pki / "server.crt").unlink()
    assert "lacks server.crt" in warnings(fleet, NOW)[0]
    (fleet.pki / "ca.key").unlink()
    assert [file.name for file in files(fleet, NOW)] == ["ca.crt", "server.key"]
    with pytest.raises(ConfigurationError, match=r"ca\.key"):
        pki.renew(fleet, NOW)


def test_the_commands(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet", with_pki=False)
    folder = {"TINYTRAIN_FLEET": str(fleet.folder)}
    assert "authority" in call(pki_cli.app, "init", "--days", 20, "--name", "gate.local", variables=folder).stderr
    shown = call(pki_cli.app, "show", "--format", "json", variables=folder)
    rows = printed(shown)
    assert isinstance(rows, list)
    assert [(row["name"], row["mode"]) for row in rows][2:] == [("ca.key", "600"), ("server.key", "600")]
    assert rows[1]["expires"] == pytest.approx(time.time() + 20 * DAY_S, abs=60)
    assert "expires in 20 days" in shown.stderr
    assert "gate.local" in call(pki_cli.app, "renew", variables=folder).stderr
    assert "gate.local" in call(pki_cli.app, "show", "--fleet", fleet.folder).stdout
    with pytest.raises(ConfigurationError, match="--force"):
        call(pki_cli.app, "init", variables=folder)
    assert "Example" in call(pki_cli.app, "init", "--help").stdout
