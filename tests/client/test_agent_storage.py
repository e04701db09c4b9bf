"""A device whose disk is full: an outcome that is recorded, and nothing lost when there is room again."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from client.agent.agent import Agent
from client.agent.config import load_agent_config
from client.agent.respondent import Unable
from client.agent.standing import read_standing
from client.config import load_node_config
from client.connection.process import Node
from client.enrolment.bundle import make_device_key
from client.store import Store
from client.supervision.start import agent_facts
from tests.client.agents import NOW, Device, manifest, order, trust, write_device
from tests.disk import full_for
from tinytrain_core.digests import digest
from tinytrain_core.errors import ErrorCode, StorageError
from tinytrain_core.files import exclusive
from tinytrain_core.orders import SyncRequest
from tinytrain_core.report import Outcome


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def told(device: Device) -> list[tuple[int, int]]:
    return [(d.report.outcome, d.report.error) for d in device.state.deliveries(9)]


def test_an_order_whose_backbone_has_no_room_is_refused_until_it_has(
    device: Device, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = order(manifest(data, 1))
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_for("safetensors"))
        assert device.agent.order(request, data, NOW) == ErrorCode.STORAGE
    assert device.state.last() is None
    assert list((device.node.store / "backbones").iterdir()) == []
    assert device.agent.order(request, data, NOW) == ErrorCode.NONE
    device.tick()
    assert [error for _, error in told(device)] == [0]


@pytest.mark.parametrize("name", ["held.json", "safetensors"])
def test_an_order_that_cannot_be_written_down_is_refused(
    name: str, device: Device, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = device.state.standing
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_for(name))
        assert device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.STORAGE
    assert (device.state.standing, device.state.running()) == (before, None)
    assert read_standing(device.node.store / "held.json") == before


def test_a_disk_that_is_full_altogether(device: Device, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert device.agent.order(order(manifest(data, 1)), data, NOW) == ErrorCode.NONE
    device.agent.tick(NOW)  # the worker has done its work; what it says is still to be heard
    with no_room():
        device.tick()
        assert device.agent.order(order(manifest(data, 1), rollout=2), None, NOW) == ErrorCode.STORAGE
        assert device.agent.sync(SyncRequest(acknowledged=[5])) == ErrorCode.NONE
        assert device.agent.answer("", ErrorCode.STORAGE, NOW).status.refused == ErrorCode.STORAGE
    assert "free the disk" in caplog.text
    device.tick(NOW + 60)
    assert [error for _, error in told(device)] == [0]
    assert device.state.running() is None


def test_a_delta_that_has_no_room_is_an_outcome(device: Device, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"method": "last_layer", "steps": 1, "learning_rate": 1e-6}
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_for(".delta"))
        assert device.agent.order(order(manifest(data, 1), settings=settings), data, NOW) == ErrorCode.NONE
        device.tick()
    assert told(device) == [(Outcome.FAILED, ErrorCode.STORAGE)]
    assert device.state.standing.in_use.version == 1  # the backbone works, and is in use without a delta
    assert Store(device.node.store).delta(11, digest(data)) is None


def test_a_node_whose_state_cannot_be_opened_says_so(tmp_path: Path, data: bytes) -> None:
    config = load_agent_config(write_device(tmp_path))
    (tmp_path / "store" / "agent.sqlite").mkdir(parents=True)
    node = Node(config, load_node_config(config.node), trust())
    unable = node.agent()
    assert isinstance(unable, Unable)
    assert unable.order(order(manifest(data, 1)), data, NOW) == ErrorCode.STORAGE
    status = unable.answer("", ErrorCode.STORAGE, NOW).status
    assert (status.refused, status.devices, status.version) == (ErrorCode.STORAGE, 1, 0)
    assert not unable.busy()
    (tmp_path / "store" / "agent.sqlite").rmdir()
    assert isinstance(node.agent(), Agent)
    assert node.state is not None
    node.state.close()


def open_files(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    there = Path("/proc/self/fd")
    return sorted(
        {str(link.readlink()) for link in there.iterdir() if link.exists()} & set(map(str, folder.rglob("*")))
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_state_that_cannot_be_used_is_closed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_agent_config(write_device(tmp_path))
    node = Node(config, load_node_config(config.node), trust())

    def full(*_: object) -> None:
        assert open_files(tmp_path)
        raise StorageError("the disk is full")

    with monkeypatch.context() as trouble:
        trouble.setattr("client.agent.agent.settle", full)
        assert isinstance(node.agent(), Unable)
    assert (node.state, open_files(tmp_path)) == (None, [])
    assert isinstance(node.agent(), Agent)
    assert node.state is not None
    node.state.close()


def test_a_node_without_a_place_for_its_lock_goes_on_and_one_that_has_a_twin_does_not(tmp_path: Path) -> None:
    file = write_device(tmp_path)
    make_device_key(tmp_path)
    command = [sys.executable, "-m", "client.connection.process", str(file)]
    fields = {**yaml.safe_load(file.read_text(encoding="utf-8")), "key": "node.key"}
    file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    (tmp_path / "store").write_bytes(b"")  # no folder can be made
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        assert any("no order can be taken" in line for line in node.stderr)
        assert any("no contact" in line for line in node.stderr)
        assert node.poll() is None
        node.terminate()
    assert node.returncode == 0
    (tmp_path / "store").unlink()
    with exclusive(tmp_path / "store"):
        twin = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert twin.returncode == StorageError.exit_code
    assert "another process" in twin.stderr


def test_what_a_device_holds_can_be_looked_at_while_it_runs(device: Device, data: bytes) -> None:
    file = device.config.node.parent / "agent.yaml"
    assert agent_facts(file)["release in use"] == 0
    assert device.agent.order(order(manifest(data, 1), rollout=4), data, NOW) == ErrorCode.NONE
    facts = agent_facts(file)
    assert (facts["last order"], facts["order runs"], facts["highest seen"]) == ("4.1", True, 1)
    device.tick()
    facts = agent_facts(file)
    assert (facts["release in use"], facts["reports waiting"], facts["order runs"]) == (1, 1, False)
    device.state.close()
    assert agent_facts(file)["reports waiting"] == 1
    (device.node.store / "agent.sqlite").write_bytes(b"damaged" * 999)
    with pytest.raises(StorageError, match="damaged"):
        agent_facts(file)
