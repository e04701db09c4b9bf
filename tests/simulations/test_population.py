import math
import statistics
import zipfile

import pytest

from client.config import load_node_config
from client.personaliser import personalise_node
from simulations.population import check_data, class_counts, device_classes, node_configs, write_nodes
from simulations.run_folder import prepare, set_up
from simulations.settings import load_settings
from tests.simulations.fleets import make_folder
from tinytrain_core.backbones.weights import digest, to_bytes
from tinytrain_core.devices.profile import catalogue, device_profile
from tinytrain_core.errors import (
    ConfigurationError,
    DataError,
    TooFewClassesError,
    TooFewImagesError,
    UnsafeArchiveError,
)
from tinytrain_core.wire import PersonaliseRequest

MIX = {"stm32h743": 2, "pi_4": 1, "jetson_nano": 1}


def settings(**overrides):
    return load_settings(None, {"devices": 9, "mix": MIX} | overrides)


def test_the_demo_has_24_devices_of_at_least_four_classes():
    demo = load_settings()
    counts = class_counts(demo.devices, demo.mix)
    assert sum(counts.values()) == demo.devices == 24
    assert len(counts) >= 4
    assert min(counts.values()) >= 3


@pytest.mark.parametrize("devices", [1, 2, 3, 7, 24, 101])
def test_classes_are_shared_out_by_largest_remainder(devices):
    counts = class_counts(devices, {"pi_4": 1, "phone": 1, "esp32s3": 1.5})
    assert sum(counts.values()) == devices
    exact = {"pi_4": devices / 3.5, "phone": devices / 3.5, "esp32s3": 1.5 * devices / 3.5}
    assert all(abs(counts.get(name, 0) - share) < 1 for name, share in exact.items())


def test_a_class_of_weight_zero_has_no_device():
    assert class_counts(5, {"pi_4": 1, "phone": 0}) == {"pi_4": 5}


def test_the_population_follows_from_the_seed_alone(tmp_path):
    assert node_configs(settings(seed=3), tmp_path) == node_configs(settings(seed=3), tmp_path)
    assert device_classes(settings(seed=3, workers=7)) == device_classes(settings(seed=3))
    assert device_classes(settings(devices=40, seed=3)) != device_classes(settings(devices=40, seed=4))


def test_gateways_host_microcontrollers_and_nothing_else(tmp_path):
    nodes = node_configs(settings(devices=20, gateway_size=4), tmp_path)
    hosted = [[device.profile for device in node.devices] for node in nodes]
    families = [{device_profile(name).family for name in names} for names in hosted]
    assert all(len(names) == 1 or family == {"mcu"} for names, family in zip(hosted, families, strict=True))
    assert sorted(len(names) for names in hosted if names[0] == "stm32h743") == [2, 4, 4]
    numbers = [device.number for node in nodes for device in node.devices]
    assert sorted(numbers) == list(range(1, 21))  # 0 is no device's number


def test_every_device_is_its_own_user(tmp_path):
    nodes = node_configs(settings(), tmp_path)
    devices = [device for node in nodes for device in node.devices]
    assert all(device.user.number == device.number - 1 for device in devices)
    assert {device.user.users for device in devices} == {9}
    assert len({node.store for node in nodes}) == len(nodes)


def test_what_is_written_is_what_a_node_reads(tmp_path):
    folder = make_folder(tmp_path / "images", dict.fromkeys("abcdefg", 40))
    nodes = node_configs(settings(data=str(folder), devices=3), tmp_path)
    write_nodes(nodes, tmp_path)
    files = sorted((tmp_path / "nodes").iterdir())
    assert len(files) == len(nodes)
    for partition, node in enumerate(nodes):
        assert load_node_config(tmp_path / "nodes" / f"{partition}.yaml") == node
        assert node.simulated
        assert {d.profile for d in node.devices} <= set(catalogue())
        assert node.devices[0].data == str(folder)


def test_nodes_of_a_former_fleet_are_gone(tmp_path):
    folder = make_folder(tmp_path / "images", dict.fromkeys("abcdefg", 40))
    for devices in (4, 2):
        write_nodes(node_configs(settings(data=str(folder), devices=devices, mix={"pi_4": 1}), tmp_path), tmp_path)
    assert sorted(path.name for path in (tmp_path / "nodes").iterdir()) == ["0.yaml", "1.yaml"]


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ({}, DataError),
        ({"a": 9}, TooFewClassesError),
        ({"a": 9, "b": 9, "c": 1}, TooFewImagesError),
        ({"a": 9, "b": 9, "c": 2}, TooFewImagesError),
    ],
    ids=["empty", "one class", "a class with a single image", "fewer images than users"],
)
def test_data_that_cannot_serve_the_fleet_is_refused_before_it_starts(tmp_path, images, error):
    folder = make_folder(tmp_path / "images", images)
    with pytest.raises(error):
        set_up(tmp_path / "out", settings(data=str(folder), devices=2, min_ways=3, max_ways=3), "")
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_data_destroys_no_former_run(tmp_path, mcunet):
    out = tmp_path / "out"
    prepare(out, settings(), "a former run", mcunet.spec)
    (out / "reports.jsonl").write_text("dear results")
    before = {path.name: path.read_text() for path in out.iterdir()}
    with pytest.raises(ConfigurationError, match="no folder"):
        set_up(out, settings(data=str(tmp_path / "typo")), "")
    with pytest.raises(ConfigurationError, match="trace"):
        set_up(out, settings(availability={"kind": "trace", "file": str(tmp_path / "typo.csv")}), "")
    assert {path.name: path.read_text() for path in out.iterdir()} == before


def test_one_broken_image_is_counted_and_the_fleet_goes_on(tmp_path, mcunet):
    folder = make_folder(tmp_path / "images", dict.fromkeys("abcd", 8))
    (folder / "a" / "image0x.png").write_bytes(b"not an image")
    fleet = settings(data=str(folder), devices=2, mix={"pi_4": 1}, min_ways=4, max_ways=4, shots=2, holdout=2)
    check_data(fleet)
    data = to_bytes(mcunet)
    request = PersonaliseRequest(digest=digest(data), method="last_layer", steps=1)
    reports = [r for node in node_configs(fleet, tmp_path) for r in personalise_node(node, request, data)]
    assert [(r.device, r.error) for r in reports] == [(1, 0), (2, 0)]
    assert sum(r.rejected_images for r in reports) == 1  # no image is on two devices


def test_a_zip_whose_path_escapes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../outside/a.png", b"x")
    with pytest.raises(UnsafeArchiveError, match="escapes"):
        check_data(settings(data=str(tmp_path / "evil.zip")))


def test_data_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no folder"):
        check_data(settings(data=str(tmp_path / "nowhere")))


def test_data_may_be_named_by_a_variable_of_the_environment(tmp_path, monkeypatch):
    make_folder(tmp_path / "photos", dict.fromkeys("abcde", 2))
    monkeypatch.setenv("PHOTOS_AT", str(tmp_path))
    one = settings(devices=1, data="$PHOTOS_AT/photos")
    check_data(one)
    assert node_configs(one, tmp_path)[0].devices[0].data == str(tmp_path / "photos")


def test_devices_of_a_class_differ_as_spread_says(tmp_path):
    alike = node_configs(settings(devices=400), tmp_path)
    unlike = node_configs(settings(devices=400, spread={"memory": 0.2, "compute": 0.2}), tmp_path)
    assert all(d.memory_bytes is None and d.compute_share is None for node in alike for d in node.devices)
    own = [d.memory_bytes / d.device_class.memory_bytes for node in unlike for d in node.devices]
    shares = [d.compute_share / d.device_class.compute_share for node in unlike for d in node.devices]
    for factors in (own, shares):
        assert statistics.median(factors) == pytest.approx(1, abs=0.05)
        assert statistics.stdev(map(math.log, factors)) == pytest.approx(0.2, rel=0.15)
    assert max(d.compute_share for node in unlike for d in node.devices) <= 1
    assert [d.profile for node in alike for d in node.devices] == [d.profile for node in unlike for d in node.devices]


def test_a_device_is_itself_in_a_larger_fleet_of_its_kind(tmp_path):
    fleets = [settings(devices=n, mix={"pi_4": 1}, spread={"memory": 0.3}) for n in (5, 3000)]
    few, many = (node_configs(fleet, tmp_path) for fleet in fleets)
    assert [few[i].devices[0].memory_bytes for i in range(5)] == [many[i].devices[0].memory_bytes for i in range(5)]


def test_a_hundred_thousand_devices_are_a_list_of_nothing_until_asked(tmp_path):
    nodes = node_configs(settings(devices=100_000, gateway_size=10), tmp_path)
    assert len(nodes) == 50_000 + 5_000  # half are microcontrollers, ten to a gateway
    assert nodes[-1] == nodes[len(nodes) - 1]
    assert nodes[54_998:] == [nodes[54_998], nodes[54_999]]
    with pytest.raises(IndexError):
        nodes[len(nodes)]
    hosted = sorted(d.number for i in range(0, len(nodes), 1000) for d in nodes[i].devices)
    assert len(hosted) == len(set(hosted))
    assert {1, 100_000} <= {d.number for i in (0, 1, 2, 3, -4, -3, -2, -1) for d in nodes[i].devices}


def test_glyph_users_are_not_walked(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "tinytrain_core.fewshot.users.CHOICES", {"choice": lambda c, o, share: asked.append(share) or []}
    )
    check_data(settings(devices=50_000))
    assert len(asked) == 1


def test_how_users_share_is_in_their_nodes_files(tmp_path):
    fleet = settings(devices=3, mix={"pi_4": 1}, share={"scheme": "by_class", "style": 0.5})
    write_nodes(node_configs(fleet, tmp_path), tmp_path)
    user = load_node_config(tmp_path / "nodes" / "1.yaml").devices[0].user
    assert (user.sharing.scheme, user.sharing.style, user.number) == ("by_class", 0.5, 1)
