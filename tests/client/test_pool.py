"""Backbones that the nodes of one machine share."""

import errno
import os
from pathlib import Path

import pytest

from client.config import NodeConfig, load_node_config, node_config_for
from client.personaliser import personalise_node
from client.store import Store
from tests.client.conftest import make_node
from tests.client.images import write_images
from tinytrain_core.digests import digest
from tinytrain_core.errors import ConfigurationError, ErrorCode
from tinytrain_core.wire import PersonaliseRequest

DATA = b"backbone" * 1000
NAME = digest(DATA)


def inodes(folder: Path) -> set[int]:
    return {file.stat().st_ino for file in folder.rglob("*.safetensors")}


def test_stores_with_a_pool_hold_one_file_between_them(tmp_path: Path) -> None:
    stores = [Store(tmp_path / str(number), pool=tmp_path / "pool") for number in range(3)]
    stores[0].save_backbone(NAME, DATA)
    stores[1].save_backbone(NAME, DATA)
    stores[1].save_backbone(NAME, DATA)
    assert [store.backbone(NAME) for store in stores] == [DATA, DATA, None]
    assert len(inodes(tmp_path)) == 1
    assert not [file for file in tmp_path.rglob(".*") if file.is_file()]
    stores[0].prune(())
    assert [store.backbone(NAME) for store in stores] == [None, DATA, None]


def test_a_damaged_file_of_the_pool_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", pool=tmp_path / "pool")
    store.save_backbone(NAME, DATA)
    (tmp_path / "pool" / f"{NAME}.safetensors").write_bytes(b"damage")
    assert store.backbone(NAME) is None
    store.save_backbone(NAME, DATA)
    assert store.backbone(NAME) == DATA
    assert len(inodes(tmp_path)) == 1


@pytest.mark.parametrize("most", [1, 0])
def test_a_file_that_takes_no_more_links_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    link = os.link

    def limited(source: str, target: str, **options: bool) -> None:
        if Path(source).stat().st_nlink > most:
            raise OSError(errno.EMLINK, "Too many links")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", limited)
    stores = [Store(tmp_path / str(number), pool=tmp_path / "pool") for number in range(3)]
    for store in stores:
        store.save_backbone(NAME, DATA)
    assert [store.backbone(NAME) for store in stores] == [DATA] * 3


def test_a_node_with_a_pool_personalises_from_it(tmp_path: Path, backbone_data: bytes) -> None:
    write_images(tmp_path / "images", 2, 4)
    request = PersonaliseRequest(digest=digest(backbone_data), steps=1, views=0)
    device = {"number": 1, "profile": "jetson_nano", "data": str(tmp_path / "images")}
    nodes = [make_node(tmp_path / name, device).model_copy(update={"pool": tmp_path / "pool"}) for name in "ab"]
    reports = [personalise_node(node, request, backbone_data) for node in nodes]
    assert reports[0][0].error == ErrorCode.NONE
    assert reports[1] == reports[0]
    assert len(inodes(tmp_path)) == 1
    damaged = backbone_data[:-1] + bytes([backbone_data[-1] ^ 1])
    assert {report.error for report in personalise_node(nodes[0], request, damaged)} == {ErrorCode.BACKBONE}
    assert personalise_node(nodes[0], request, None) == reports[0]


def test_a_node_may_come_as_json(tmp_path: Path) -> None:
    raw = '{"store": "%s", "pool": "%s", "devices": [{"number": 4, "profile": "pi_4", "data": "glyphs"}]}'
    text = raw % (tmp_path / "store", tmp_path / "pool")
    node = node_config_for({"partition-id": 3, "num-partitions": 9, "node": text}, {"TINYTRAIN_NODES": "/nowhere"})
    assert node == NodeConfig.model_validate_json(text)
    with pytest.raises(ConfigurationError, match="store: Field required"):
        node_config_for({"node": '{"devices": []}'}, {})


def test_a_relative_pool_is_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("store: a\npool: b\ndevices: [{number: 1, profile: pi_4, data: glyphs}]\n")
    assert load_node_config(file).pool == tmp_path / "b"
