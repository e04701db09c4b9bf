from pathlib import Path

import pytest
import yaml

from client.config import NodeConfig, load_node_config, node_config_for
from client.template import node_yaml
from tinytrain_core.devices.profile import catalogue
from tinytrain_core.errors import ConfigurationError

DEVICE = {"number": 1, "profile": "pi_4", "data": "glyphs"}


def write(folder: Path, content: object, name: str = "node.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    node = load_node_config(write(tmp_path, {"store": "s", "devices": [DEVICE | {"data": "images"}]}))
    assert node.store == tmp_path / "s"
    assert node.devices[0].data == str(tmp_path / "images")


def test_absolute_paths_and_glyphs_stay(tmp_path: Path) -> None:
    devices = [DEVICE | {"data": "glyphs:test"}, DEVICE | {"number": 2, "data": "/somewhere/images.zip"}]
    node = load_node_config(write(tmp_path, {"store": "/elsewhere", "devices": devices}))
    assert [d.data for d in node.devices] == ["glyphs:test", "/somewhere/images.zip"]
    assert node.store == Path("/elsewhere")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"number": "first"}, "devices.0.number"),
        ({"number": -1}, "devices.0.number"),
        ({"number": 0}, "devices.0.number"),  # what a report says of a device that is not known
        ({"profile": "toaster"}, "toaster"),
        ({"shots": 0}, "devices.0.shots"),
        ({"compute_share": 1.5}, "devices.0.compute_share"),
        ({"compute_share": float("nan")}, "devices.0.compute_share"),
        ({"user": {"number": 3, "users": 2}}, "user 3 of 2"),
    ],
)
def test_a_wrong_device_names_the_key(tmp_path: Path, change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_node_config(write(tmp_path, {"store": "s", "devices": [DEVICE | change]}))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "expected one setting a line"),
        ({"devices": [DEVICE]}, "store"),
        ({"store": "s", "devices": []}, "devices"),
        ({"store": "s", "devices": [DEVICE], "stores": 1}, "stores"),
        ({"store": "s", "devices": [DEVICE, DEVICE]}, "share the numbers"),
    ],
)
def test_a_wrong_node_names_the_key(tmp_path: Path, content: object, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_node_config(write(tmp_path, content))


def test_what_is_not_yaml_is_a_configuration_error(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("store: [", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="YAML"):
        load_node_config(file)
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match="YAML"):
        load_node_config(file)


def test_the_template_is_a_valid_node(tmp_path: Path) -> None:
    text = node_yaml(7, "stm32h743", 'my "images": #1', "store", list(catalogue()))
    (tmp_path / "node.yaml").write_text(text, encoding="utf-8")
    device = load_node_config(tmp_path / "node.yaml").devices[0]
    assert (device.number, device.profile, device.data) == (7, "stm32h743", str(tmp_path / 'my "images": #1'))


def test_flower_names_the_file_or_the_environment_names_the_folder(tmp_path: Path) -> None:
    file = write(tmp_path, {"store": "s", "devices": [DEVICE]}, "3.yaml")
    by_path = node_config_for({"config": str(file), "partition-id": 9}, {"TINYTRAIN_NODES": "/nowhere"})
    by_folder = node_config_for({"partition-id": 3, "num-partitions": 9}, {"TINYTRAIN_NODES": str(tmp_path)})
    assert by_path == by_folder == load_node_config(file)
    with pytest.raises(ConfigurationError, match=r"4\.yaml"):
        node_config_for({"partition-id": 4, "num-partitions": 9}, {"TINYTRAIN_NODES": str(tmp_path)})


def bare(partition: int, cache: Path) -> NodeConfig:
    return node_config_for({"partition-id": partition, "num-partitions": 20}, {"XDG_CACHE_HOME": str(cache)})


def test_a_bare_simulation_takes_the_catalogue_in_turn(tmp_path: Path) -> None:
    nodes = [bare(partition, tmp_path) for partition in range(len(catalogue()) + 1)]
    assert [node.devices[0].profile for node in nodes] == [*catalogue(), next(iter(catalogue()))]
    assert all(node.simulated and node.store.is_relative_to(tmp_path) for node in nodes)
    assert len({node.store for node in nodes}) == len(nodes)
    assert [node.devices[0].number for node in nodes] == list(range(1, len(nodes) + 1))


@pytest.mark.parametrize("given", [{}, {"partition-id": 1}, {"partition-id": "1", "num-partitions": "2"}])
def test_a_node_without_configuration_is_an_error(given: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="no configuration"):
        node_config_for(given, {})
