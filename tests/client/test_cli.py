import json
import sys
from pathlib import Path

import pytest

from client.cli import main
from client.config import load_node_config
from client.store import Store
from tests.client.conftest import write_images
from tinytrain_core.backbones.weights import digest
from tinytrain_core.files import exclusive


@pytest.fixture
def place(tmp_path: Path, backbone_data: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with images and a backbone."""
    write_images(tmp_path / "images", 2, 4)
    (tmp_path / "b.safetensors").write_bytes(backbone_data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tinytrain-client", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def node(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert call(monkeypatch, "init", "node.yaml", "--profile", "phone", "--number", "5") == 0
    return place / "node.yaml"


def test_init_writes_a_node_once(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_node_config(node).devices[0].number == 5
    assert call(monkeypatch, "init", "node.yaml") == 2
    assert "--force" in capsys.readouterr().err
    assert call(monkeypatch, "init", "node.yaml", "--force", "--profile", "pi_4") == 0
    assert load_node_config(node).devices[0].profile == "pi_4"


def test_init_makes_the_folder_or_says_why_not(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "init", "new/deep/node.yaml") == 0
    assert load_node_config(place / "new" / "deep" / "node.yaml").devices[0].number == 1
    (place / "file").write_text("")
    assert call(monkeypatch, "init", "file/node.yaml") == 7
    assert call(monkeypatch, "init", "new", "--force") == 7
    assert capsys.readouterr().err.count("tinytrain-client: cannot write") == 2


def test_plan_trains_and_keeps_nothing(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(monkeypatch, "plan", "node.yaml", "--backbone", "b.safetensors") == 0
    printed = capsys.readouterr().out
    assert "block13.pw2" in printed
    assert "MiB of budget" in printed
    assert not (node.parent / "store").exists()


def test_personalise_prints_reports_and_keeps_the_backbone(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], backbone_data: bytes
) -> None:
    capsys.readouterr()
    options = ["--backbone", "b.safetensors", "--method", "last_layer", "--steps", "1", "--format", "json"]
    assert call(monkeypatch, "personalise", "node.yaml", *options) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["device"], report["ways"], report["error"]) == (5, 2, 0)
    assert Store(node.parent / "store").backbones() == [digest(backbone_data)]
    assert call(monkeypatch, "status", "node.yaml", "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["device"], row["images"]) == (5, "2 classes, 8 images")


def test_errors_are_one_line_and_an_exit_code(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for arguments, code, text in (
        (["plan", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["plan", "node.yaml", "--backbone", "nowhere"], 2, "no backbone"),
        (["plan", "node.yaml", "--backbone", "node.yaml"], 4, "safetensors"),
        (["personalise", "node.yaml", "--backbone", "b.safetensors", "--method", "magic"], 2, "magic"),
        (["personalise", "node.yaml", "--backbone", "b.safetensors", "--optimiser", "magic"], 2, "magic"),
        (["init", "new.yaml", "--profile", "toaster"], 2, "toaster"),
    ):
        assert call(monkeypatch, *arguments) == code
        error = capsys.readouterr().err
        assert text in error
        assert "Traceback" not in error


def test_a_device_without_images_gives_its_exit_code(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in (node.parent / "images").rglob("*.png"):
        image.unlink()
    assert call(monkeypatch, "plan", "node.yaml", "--backbone", "b.safetensors") == 3
    assert call(monkeypatch, "personalise", "node.yaml", "--backbone", "b.safetensors") == 3
    assert call(monkeypatch, "status", "node.yaml") == 0
    assert "unusable" in capsys.readouterr().out


def test_help_teaches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["init"], ["plan"], ["personalise"], ["status"]):
        assert call(monkeypatch, *command, "--help") == 0
        printed = capsys.readouterr().out
        assert not command or "Example" in printed


def test_a_store_in_which_a_node_works_is_left_alone(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--backbone", "b.safetensors", "--method", "none"]
    with exclusive(load_node_config(node).store):
        assert call(monkeypatch, "personalise", "node.yaml", *options) == 7
    assert "a node is at work" in capsys.readouterr().err
    assert call(monkeypatch, "personalise", "node.yaml", *options) == 0
