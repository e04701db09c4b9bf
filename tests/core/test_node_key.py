"""Keys of nodes, as OpenSSH and Flower have them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.files import write_file
from tinytrain_core.node_key import make_key, parse_public, public_of, public_pem

KEY = make_key()


def test_keys_are_compared_without_their_comments() -> None:
    public = public_of(KEY)
    assert parse_public(f" {public} somebody@somewhere\n", "it") == public
    pem = load_pem_public_key(public_pem(public))
    assert pem.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == public


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1()])
def test_the_other_curves_of_openssh_are_taken(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    assert parse_public(public_of(key.decode()), "it").startswith("ecdsa-sha2-nistp")


def test_other_keys_are_refused() -> None:
    ed = ed25519.Ed25519PrivateKey.generate()
    text = ed.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    for wrong, reason in ((KEY, "is a private key"), (text, "not the public key"), ("", "not the public key")):
        with pytest.raises(ConfigurationError, match=reason) as refused:
            parse_public(wrong, "it")
        assert KEY[100:140] not in str(refused.value)
    plain = ed.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    for wrong_private in (plain, b"nonsense", b""):
        with pytest.raises(ConfigurationError, match="without a passphrase"):
            public_of(wrong_private.decode())


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs OpenSSH's programs")
def test_openssh_and_we_read_each_other(tmp_path: Path) -> None:
    write_file(tmp_path / "ours", KEY.encode(), 0o600)
    shown = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "ours"], capture_output=True, text=True, check=True)
    assert parse_public(shown.stdout, "it") == public_of(KEY)
    for name, passphrase in (("plain", ""), ("hidden", "secret")):
        command = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", passphrase, "-f", tmp_path / name]
        subprocess.run(command, check=True)
    theirs = (tmp_path / "plain.pub").read_text(encoding="ascii")
    assert public_of((tmp_path / "plain").read_text(encoding="ascii")) == parse_public(theirs, "it")
    with pytest.raises(ConfigurationError, match="without a passphrase"):
        public_of((tmp_path / "hidden").read_text(encoding="ascii"))
