"""A machine becomes a node: what is unpacked, what is refused, and what a second time does."""

import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from client.agent.config import load_agent_config
from client.config import load_node_config
from client.enrolment.bundle import enrol, make_device_key
from client.enrolment.cli import enrol_command, key_command
from server.pki.certificates import make_authority
from tests.disk import full_for
from tests.releases import trust_of
from tinytrain_core.configuration import read_yaml_file
from tinytrain_core.enrolment import EnrolledDevice, Enrolment, write_enrolment
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.node_key import make_key, public_of
from tinytrain_core.release import parse_trust

CA = make_authority("a fleet", 10, datetime.now(UTC)).certificate_pem.decode()
TRUST = trust_of(1, 2, 3)


def write_bundle(file: Path, node: str = "gate-1", **changes: Any) -> Enrolment:
    key = make_key()
    fields: dict[str, Any] = {
        "node": node,
        "server": "fleet.example.org:443",
        "ca": CA,
        "public_key": public_of(key),
        "private_key": key,
        "devices": (EnrolledDevice(number=4, profile="pi_4"), EnrolledDevice(number=9, profile="stm32h743")),
        "trust": TRUST,
    }
    enrolment = Enrolment(**(fields | changes))
    write_enrolment(file, enrolment)
    return enrolment


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "gate-1.enrol")
    return tmp_path / "gate-1.enrol"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_has_all_that_the_node_needs(bundle: Path, tmp_path: Path) -> None:
    agent = enrol(bundle, tmp_path / "node", {4: "/photos"})
    config = load_agent_config(agent)
    assert (config.name, config.server) == ("gate-1", "fleet.example.org:443")
    assert config.ca.read_text(encoding="ascii") == CA
    assert parse_trust(read_yaml_file(config.trust), "it") == TRUST
    node = load_node_config(config.node)
    here = str(tmp_path / "node" / "images" / "9")
    assert [(d.number, d.profile, d.data) for d in node.devices] == [(4, "pi_4", "/photos"), (9, "stm32h743", here)]
    assert stat.S_IMODE(config.key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "node").stat().st_mode) == 0o700


def test_the_store_may_be_elsewhere(bundle: Path, tmp_path: Path) -> None:
    assert load_node_config(enrol(bundle, tmp_path / "1", {}).with_name("node.yaml")).store == tmp_path / "1" / "store"
    elsewhere = str(tmp_path / "var")
    agent = enrol(bundle, tmp_path / "2", {}, store=elsewhere)
    assert load_node_config(agent.with_name("node.yaml")).store == tmp_path / "var"


def test_every_key_that_is_left_to_the_owner_can_be_set(bundle: Path, tmp_path: Path) -> None:
    agent = enrol(bundle, tmp_path / "node", {})
    plain = load_agent_config(agent)
    text = agent.read_text(encoding="utf-8")
    agent.write_text(re.sub(r"(?m)^# (?=[a-z_]+:|  )", "", text), encoding="utf-8")
    config = load_agent_config(agent)
    assert config.window == ("22:00-06:00",)
    assert (config.power.mains_only, config.power.min_battery_percent) == (True, 50)
    assert config.temperature is not None
    assert config.privacy is not None
    assert (config.outbox, config.poll_s, plain.local_every_h) == (plain.outbox, plain.poll_s, 0)
    assert config.max_orders_per_day == plain.max_orders_per_day


def test_the_same_bundle_again_brings_back_what_is_missing(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    agent = enrol(bundle, folder, {4: "glyphs"})
    first = contents(folder)
    enrol(bundle, folder, {})
    assert contents(folder) == first
    agent.write_text(agent.read_text(encoding="utf-8") + "poll_s: 9\n", encoding="utf-8")
    (folder / "ca.crt").unlink()
    (folder / "node.key").unlink()
    enrol(bundle, folder, {})
    assert contents(folder) | {"agent.yaml": b""} == first | {"agent.yaml": b""}
    assert load_agent_config(agent).poll_s == 9
    enrol(bundle, folder, {4: "glyphs"}, force=True)
    assert contents(folder) == first


def test_another_enrolment_is_refused_unless_forced(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    enrol(bundle, folder, {})
    first = contents(folder)
    write_bundle(tmp_path / "other.enrol", "gate-2")
    with pytest.raises(ConfigurationError, match="--force to lose that key"):
        enrol(tmp_path / "other.enrol", folder, {})
    (folder / "node.key").unlink()
    with pytest.raises(ConfigurationError, match=r"ca\.crt, trust\.json.*another enrolment"):
        enrol(tmp_path / "other.enrol", folder, {})
    assert contents(folder) == {name: data for name, data in first.items() if name != "node.key"}
    assert load_agent_config(enrol(tmp_path / "other.enrol", folder, {}, force=True)).name == "gate-2"


def test_the_device_can_have_its_own_key(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    public = make_device_key(folder)
    with pytest.raises(ConfigurationError, match="already"):
        make_device_key(folder)
    assert stat.S_IMODE((folder / "node.key").stat().st_mode) == 0o600
    key = public.read_text(encoding="ascii").strip()
    write_bundle(tmp_path / "own.enrol", public_key=key, private_key=None)
    with pytest.raises(ConfigurationError, match="tinytrain-client key"):
        enrol(tmp_path / "own.enrol", tmp_path / "elsewhere", {})
    before = (folder / "node.key").read_bytes()
    for force in (False, True):
        config = load_agent_config(enrol(tmp_path / "own.enrol", folder, {}, force))
        assert config.key.read_bytes() == before
    write_bundle(tmp_path / "other.enrol", public_key=public_of(make_key()), private_key=None)
    with pytest.raises(ConfigurationError, match="is another"):
        enrol(tmp_path / "other.enrol", folder, {}, force=True)


@pytest.mark.parametrize("name", ["enrolment.json", "node.key", "ca.crt", "trust.json", "node.yaml", "agent.yaml"])
def test_a_disk_that_fills_up_leaves_what_can_be_finished(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_for(f"node/.{name}"))
        with pytest.raises(StorageError, match="free the disk"):
            enrol(bundle, tmp_path / "node", {})
    assert not (tmp_path / "node" / "agent.yaml").exists()
    enrol(bundle, tmp_path / "node", {})
    enrol(bundle, tmp_path / "fresh", {})
    assert contents(tmp_path / "node") == contents(tmp_path / "fresh")


def test_what_the_device_does_not_know_is_refused_before_anything_is_written(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--data for devices \[5\].*\[4, 9\]"):
        enrol(bundle, tmp_path / "node", {5: "images"})
    write_bundle(tmp_path / "new.enrol", devices=(EnrolledDevice(number=1, profile="pi_9"),))
    with pytest.raises(ConfigurationError, match="unknown device 'pi_9'"):
        enrol(tmp_path / "new.enrol", tmp_path / "node", {})
    bundle.write_bytes(bundle.read_bytes()[:-50])
    with pytest.raises(ConfigurationError, match="not the whole"):
        enrol(bundle, tmp_path / "node", {})
    assert not (tmp_path / "node").exists()


def test_the_commands(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command("enrol")(enrol_command)
    app.command("key")(key_command)
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    done = run(app, ["enrol", bundle.name, "--data", "4=photos", "--data", "9=glyphs", "--store", "kept"])
    assert done.exit_code == 0
    assert load_node_config("node/node.yaml").store == tmp_path / "kept"
    assert str(tmp_path / "photos") in done.stderr
    assert [device.data for device in load_node_config("node/node.yaml").devices] == [
        str(tmp_path / "photos"),
        "glyphs",
    ]
    for wrong in ("photos", "x=photos", "4=", "4=a"):
        refused = run(app, ["enrol", bundle.name, "--data", "4=a", "--data", wrong]).exception
        assert isinstance(refused, ConfigurationError)
        assert "NUMBER=PATH" in str(refused)
    assert "mine/node.pub" in run(app, ["key", "mine"]).stderr
    for command in ("enrol", "key"):
        assert "Example" in run(app, [command, "--help"]).stdout
