from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer import Typer
from typer.testing import CliRunner

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.init import init_command
from server.releases.keys import PASSPHRASE_VARIABLE, is_exposed, make_key, private_key, public_key, public_path
from server.releases.trust import add_keys, load_trust, remove_key
from tests.releases import key
from tinytrain_core.errors import ConfigurationError, StorageError, TinyTrainError
from tinytrain_core.release import key_id


def nobody() -> str:
    raise AssertionError("no passphrase is needed")


def test_a_key_is_its_owners_alone_and_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "new" / "alice.pem"
    name = make_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not is_exposed(file)
    made = private_key(file, nobody).public_key().public_bytes_raw()
    assert (public_key(str(public_path(file))), key_id(made)) == (made.hex(), name)
    assert public_key(made.hex()) == made.hex()
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match="there already"):
        make_key(file)
    with pytest.raises(ConfigurationError, match="ends as public keys do"):
        make_key(tmp_path / "bob.pub")
    assert file.read_bytes() == before
    with pytest.raises(StorageError):
        make_key(file / "x.pem")
    file.chmod(0o640)
    assert is_exposed(file)


def test_a_passphrase_is_needed_and_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alice.pem"
    name = make_key(file, "schön".encode())
    assert b"ENCRYPTED" in file.read_bytes()
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    assert key_id(private_key(file, lambda: "schön").public_key().public_bytes_raw()) == name
    for wrong in ("", "schon"):
        with pytest.raises(ConfigurationError, match="passphrase is wrong"):
            private_key(file, lambda wrong=wrong: wrong)  # type: ignore[misc]
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "schön")
    assert private_key(file, nobody)


def other_kind() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def private_pem(secret: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(secret: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
    return secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("data", "as_private", "as_public"),
    [
        (b"", "not a private key", "not a public key"),
        (b"\xff" * 100, "not a private key", "not a public key"),
        (b"x" * 20_000, "more than 16384", "more than 16384"),
        (public_pem(key(1)), "not a private key", ""),
        (private_pem(key(1)), "", "is a private key; keep it off"),
        (private_pem(other_kind()), "another kind of key", "is a private key"),
        (public_pem(other_kind()), "not a private key", "another kind of key"),
        (private_pem(key(1)).replace(b"MC", b"MD"), "not a private key", "is a private key"),
    ],
)
def test_other_files_are_no_keys(tmp_path: Path, data: bytes, as_private: str, as_public: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(data)
    for read, wrong in ((lambda: private_key(file, nobody), as_private), (lambda: public_key(str(file)), as_public)):
        if wrong:
            with pytest.raises(ConfigurationError, match=wrong):
                read()
        else:
            assert read()
    with pytest.raises(ConfigurationError, match="cannot read the key"):
        public_key(str(tmp_path / "nothing"))


def test_trust_grows_and_shrinks(tmp_path: Path) -> None:
    digits = [key(n).public_key().public_bytes_raw().hex() for n in (1, 2, 3)]
    ids = [key_id(bytes.fromhex(text)) for text in digits]
    with pytest.raises(ConfigurationError, match="trust add"):
        load_trust(tmp_path)
    assert add_keys(tmp_path, "main", digits[:1]).threshold == 1
    assert add_keys(tmp_path, "main", digits, threshold=2) == load_trust(tmp_path)
    assert sorted(load_trust(tmp_path).keys) == sorted(ids)
    for wrong in (lambda: add_keys(tmp_path, "main", [], threshold=4), lambda: remove_key(tmp_path, "0" * 16)):
        with pytest.raises(ConfigurationError):
            wrong()
    assert set(remove_key(tmp_path, ids[0]).keys) == set(ids[1:])
    with pytest.raises(ConfigurationError, match="2 signatures are asked for, of 1"):
        remove_key(tmp_path, ids[1])
    assert remove_key(tmp_path, ids[1], threshold=1).keys == {ids[2]: digits[2]}
    with pytest.raises(ConfigurationError):
        remove_key(tmp_path, ids[2])
    assert load_trust(tmp_path).keys == {ids[2]: digits[2]}


def begin(*arguments: str | Path) -> None:
    app = Typer()
    app.command()(init_command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, TinyTrainError):
        raise result.exception
    assert result.exit_code == 0, result.output


def test_a_fleet_begins_with_every_key_explained(tmp_path: Path) -> None:
    folder = tmp_path / "srv" / "fleet"
    begin(folder, "--address", "fleet.example.org:443", "--line", "shelves")
    expected = FleetConfig(folder=folder, address="fleet.example.org:443", line="shelves")
    assert load_fleet_config(folder) == expected
    text = (folder / "server.yaml").read_text()
    assert set(yaml.safe_load(text)) == set(FleetConfig.model_fields) - {"folder"}
    for block in text.strip().split("\n\n"):
        assert block.startswith("# ")
    with pytest.raises(ConfigurationError, match="--force"):
        begin(folder, "--address", "other:1")
    assert (folder / "server.yaml").read_text() == text
    begin(folder, "--address", "[::1]:9443", "--force")
    assert load_fleet_config(folder).address == "[::1]:9443"
    for wrong in ("nothing", "host:", "host:1\nline: x"):
        with pytest.raises(ConfigurationError, match="address"):
            begin(tmp_path / "no", "--address", wrong)
    assert not (tmp_path / "no").exists()
