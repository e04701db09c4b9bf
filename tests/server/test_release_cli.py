import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from server.fleet.config import FleetConfig, load_fleet_config
from server.fleet.init import server_yaml
from server.releases import cli as release_cli
from server.releases.registry import Registry, load_trust
from tests.releases import trust_of
from tinytrain_core.backbones.weights import shipped_path
from tinytrain_core.errors import ConfigurationError, ManifestError, ReleaseError, SignatureError, TinyTrainError

RUN = (
    "from server.releases.cli import app; from tinytrain_core.console import run_cli; run_cli(app, 'tinytrain-server')"
)


def call(*arguments: str | Path, answer: str = "", code: int = 0) -> str:
    """What a command prints on its standard output."""
    result = CliRunner().invoke(release_cli.app, [str(argument) for argument in arguments], input=answer)
    if isinstance(result.exception, TinyTrainError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def facts(*arguments: str | Path, code: int = 0) -> list[dict[str, object]]:
    return list(json.loads(call(*arguments, "--format", "json", code=code)))


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet's folder, which is the current one, and the keys of two people in another, who trust each other."""
    place, people = tmp_path / "fleet", tmp_path / "people"
    place.mkdir()
    people.mkdir()
    (place / "server.yaml").write_text(server_yaml(FleetConfig(address="localhost:443")))
    monkeypatch.chdir(place)
    for name in ("alice", "bob"):
        call("keygen", name, "--out", people / f"{name}.pem")
    call("trust", "add", people / "alice.pub", people / "bob.pub", "--threshold", "2")
    return place


@pytest.fixture
def signed(fleet: Path) -> Path:
    """The fleet with releases 1 and 2, both fully signed."""
    for version in ("1", "2"):
        call("create", "mcunet-5fps")
        for name in ("alice", "bob"):
            call("sign", version, "--key", fleet.parent / "people" / f"{name}.pem", "--yes")
    return fleet


def test_a_release_comes_to_be_and_reaches_both_channels(signed: Path) -> None:
    call("verify")
    call("promote", "1", "--channel", "canary")
    call("promote", "1", "--channel", "stable", "--reason", "all are well")
    with pytest.raises(ConfigurationError, match="never in canary"):
        call("promote", "2", "--channel", "stable")
    call("promote", "2", "--channel", "canary")
    call("withdraw", "2", "--reason", "[/red] worse")
    second, first = facts("list")
    assert (first["version"], first["channels"], first["withdrawn"]) == (1, ["canary", "stable"], None)
    assert (second["version"], second["channels"], second["withdrawn"]) == (2, [], "[/red] worse")
    assert len(first["signed_by"]) == first["threshold"] == 2  # type: ignore[arg-type]
    table = call("list")
    assert "2 of 2, 2 needed" in table
    assert "[/red] worse" in table
    promotions = json.loads(call("show", "1", "--format", "json"))["promotions"]
    assert [promotion["reason"] for promotion in promotions] == ["", "all are well"]
    shown = call("show", "1")
    assert "to canary\n" in shown
    assert "to stable all are well\n" in shown


def test_an_unsigned_release_is_not_promoted(fleet: Path) -> None:
    call("create", "mcunet-5fps", "--version", "7", "--expires-days", "5", "--min-client", "0.1.0")
    assert "too few" in call("list")
    assert "! in 5.0 days" in call("list")
    assert "0 valid signatures of the 2" in call("verify", "7", code=11)
    with pytest.raises(ReleaseError, match="release 7 is not promoted: 0 valid signatures"):
        call("promote", "7", "--channel", "canary")
    with pytest.raises(TinyTrainError, match="version 6 is not above 7"):
        call("create", "mcunet-5fps", "--version", "6")
    assert facts("verify", code=11)[0]["what"] == "release 7"


def test_signing_shows_what_is_signed_and_asks(fleet: Path) -> None:
    call("create", "mcunet-5fps")
    manifest, key = fleet / "releases" / "manifests" / "main" / "1.json", fleet.parent / "people" / "alice.pem"
    shown = call("sign", manifest, "--key", key, answer="n\n", code=1)
    digest = Registry(fleet / "releases", "main").release(1).manifest.digest
    for text in ("release", "main", digest, "expires", "in 90.0 days", "mcunet-5fps"):
        assert text in shown
    assert not (manifest.parent / "1.signatures.json").exists()
    call("sign", manifest, "--key", key, "--weights", shipped_path(), answer="y\n")
    assert len(Registry(fleet / "releases", "main").release(1).signatures) == 1
    with pytest.raises(ManifestError, match="changed or cut short"):
        call("sign", manifest, "--key", key, "--weights", shipped_path("mbv2-w0.35"), "--yes")
    with pytest.raises(ManifestError, match=r"server\.yaml: the manifest's"):
        call("sign", fleet / "server.yaml", "--key", key, "--yes")
    call("keygen", "mallory")
    with pytest.raises(SignatureError, match="is meant for the signatures of"):
        call("sign", manifest, "--key", "mallory.pem", "--yes")


def test_signatures_made_elsewhere_are_taken_only_where_they_belong(signed: Path, tmp_path: Path) -> None:
    signatures = signed / "releases" / "manifests" / "main" / "1.signatures.json"
    mine = tmp_path / "carried.json"
    mine.write_bytes(signatures.read_bytes())
    signatures.unlink()
    call("sign", "--import", mine)
    assert len(Registry(signed / "releases", "main").release(1).signatures) == 2
    mine.write_text(json.dumps(dict.fromkeys(load_trust(signed).keys, "A" * 86 + "==")))
    with pytest.raises(SignatureError, match=r"none of the 2 signatures.*one of the 2 manifests"):
        call("sign", "--import", mine)
    with pytest.raises(ConfigurationError, match="no signatures at"):
        call("sign", "--import", tmp_path / "nothing.json")
    for arguments in (("sign",), ("sign", "1"), ("sign", "1", "--import", mine)):
        with pytest.raises(ConfigurationError):
            call(*arguments)


def test_an_order_to_go_back_is_made_signed_and_listed(signed: Path) -> None:
    call("create", "--rollback-to", "1", "--withdraws", "2", "--expires-days", "7")
    file = signed / "releases" / "rollbacks" / "main" / "1-withdraws-2.json"
    for name in ("alice", "bob"):
        shown = call("sign", file, "--key", signed.parent / "people" / f"{name}.pem", "--yes")
        assert "roll-back order, which withdraws 2" in shown
    call("verify")
    order = Registry(signed / "releases", "main").rollback_order(1, 2)
    assert order is not None
    order.check(load_trust(signed), order.manifest.created)
    assert "roll-back from 2" in call("list")
    assert "1-withdraws-2.json" in call("show", "1")
    for arguments in (
        ("--rollback-to", "1"),
        ("--withdraws", "2"),
        ("mcunet-5fps", "--rollback-to", "1", "--withdraws", "2"),
    ):
        with pytest.raises(ConfigurationError, match="roll-back order takes"):
            call("create", *arguments)
    with pytest.raises(ConfigurationError, match="takes versions as 3 or 3,4"):
        call("create", "--rollback-to", "1", "--withdraws", "2;3")


def test_what_is_damaged_is_named_and_the_rest_is_listed(signed: Path) -> None:
    file = signed / "releases" / "manifests" / "main" / "2.json"
    file.write_bytes(file.read_bytes().replace(b'"version":2', b'"version":3'))
    damaged, whole = facts("list", code=11)
    assert str(file) in str(damaged["problem"])
    assert whole["version"] == 1
    assert str(file) in call("verify", "2", code=11)
    call("verify", "1")
    with pytest.raises(ManifestError, match=str(file)):
        call("show", "2")


def test_two_signers_on_machines_of_their_own(signed: Path, tmp_path: Path) -> None:
    """In processes of their own, with nothing but a manifest and a key; one key has a passphrase."""

    def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command, free = [sys.executable, "-c", RUN, *arguments], {"TINYTRAIN_PASSPHRASE": ""}
        settings = os.environ | free | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment
        return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)

    homes = {name: tmp_path / name for name in ("carol", "dave")}
    for name, home in homes.items():
        home.mkdir()
        assert run(home, "keygen", name, "--passphrase", TINYTRAIN_PASSPHRASE=f"of {name}").returncode == 0
        assert (home / f"{name}.pem").stat().st_mode & 0o777 == 0o600
    old = list(load_trust(signed).keys)
    call("trust", "add", *(home / f"{name}.pub" for name, home in homes.items()))
    for key in old:
        call("trust", "remove", key, "--threshold", "1" if key == old[0] else "2")
    call("create", "mcunet-5fps")
    manifest = (signed / "releases" / "manifests" / "main" / "3.json").read_bytes()
    for name, home in homes.items():
        (home / "3.json").write_bytes(manifest)
        wrong = run(home, "sign", "3.json", "--key", f"{name}.pem", "--yes", TINYTRAIN_PASSPHRASE="of mallory")
        assert (wrong.returncode, "passphrase is wrong" in wrong.stderr) == (2, True)
        made = run(home, "sign", "3.json", "--key", f"{name}.pem", "--yes", TINYTRAIN_PASSPHRASE=f"of {name}")
        assert made.returncode == 0, made.stderr
        assert call("verify", "3", code=11)
        call("sign", "--import", home / "3.signatures.json")
    call("verify", "3")
    call("promote", "3", "--channel", "canary")
    tampered = run(homes["dave"], "sign", "--import", "3.json", "--fleet", str(signed))
    assert (tampered.returncode, "3.json does not hold signatures" in tampered.stderr) == (11, True)
    assert "Traceback" not in wrong.stderr + tampered.stderr


def test_a_fleet_without_trust_lists_but_verifies_nothing(fleet: Path) -> None:
    call("create", "mcunet-5fps")
    (fleet / "trust.json").unlink()
    assert "no trust.json" in call("list")
    for command in (["verify"], ["promote", "1", "--channel", "canary"], ["create"], ["trust", "show"]):
        with pytest.raises(ConfigurationError, match="trust add"):
            call(*command)
    (fleet / "trust.json").write_text(trust_of(1, threshold=1).model_dump_json().replace("1", "one", 1))
    with pytest.raises(ConfigurationError, match=r"trust\.json"):
        call("list")
    assert yaml.safe_load((fleet / "server.yaml").read_text())["line"] == load_fleet_config(fleet).line
