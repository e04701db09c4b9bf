import zipfile

import pytest
import yaml

from client.config import MAX_IMAGES, load_node_config
from client.personaliser import personalise_node
from server.config import MAX_DEADLINE_S
from simulations.engine import server_settings
from simulations.population import check_data, class_counts, device_classes, node_configs, write_nodes
from simulations.run_folder import prepare, set_up
from simulations.settings import demo_defaults, load_settings, parse_overrides
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
    assert demo.model_dump().keys() - demo_defaults().keys() == {
        "steps",
        "learning_rate",
        "optimiser",
        "views",
        "precision",
    }


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


def test_a_large_fleet_has_a_deadline_that_the_server_takes(tmp_path):
    assert server_settings(settings(devices=4000), 4000, tmp_path).deadline_s == MAX_DEADLINE_S
    assert server_settings(settings(devices=9), 9, tmp_path).deadline_s == 600 * 5  # two workers


def test_a_zip_whose_path_escapes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../outside/a.png", b"x")
    with pytest.raises(UnsafeArchiveError, match="escapes"):
        check_data(settings(data=str(tmp_path / "evil.zip")))


def test_data_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no folder"):
        check_data(settings(data=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"devises": 3}, "devises.*the keys are devices"),
        ({"devices": 0}, "devices"),
        ({"devices": "many"}, "devices"),
        ({"mix": {"pdp11": 1}}, "unknown device 'pdp11'.*stm32h743"),
        ({"mix": {"pi_4": 0}}, "all weights are 0"),
        ({"mix": {"pi_4": -1, "phone": 2}}, "pi_4 is -1"),
        ({"mix": {}}, "mix"),
        ({"method": "magic"}, "unknown method 'magic'.*tinytrain"),
        ({"min_ways": 8, "max_ways": 6}, "min_ways is 8, above max_ways 6"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"optimiser": "Adam"}, "unknown optimiser 'Adam'.*adam"),
        ({"optimiser": 3}, "optimiser"),
        ({"shots": MAX_IMAGES + 1}, "shots"),
        ({"holdout": MAX_IMAGES + 1}, "holdout"),
        ({"deadline_s": MAX_DEADLINE_S + 1}, "deadline_s"),
    ],
)
def test_wrong_settings_are_named(overrides, words):
    with pytest.raises(ConfigurationError, match=words):
        settings(**overrides)


def test_a_file_and_overrides_stack_up(tmp_path):
    file = tmp_path / "fleet.yaml"
    file.write_text("devices: 7\nsteps: 3\n")
    loaded = load_settings(file, parse_overrides(["steps=4", "mix={pi_4: 1}", "learning_rate=1e-2"]))
    assert (loaded.devices, loaded.steps, loaded.mix, loaded.learning_rate) == (7, 4, {"pi_4": 1.0}, 0.01)


@pytest.mark.parametrize("data", [b"- a\n- b\n", b"devices: [", b"devices: 3\nunknown_key: 1\n", b"data: \xff\xfe"])
def test_a_file_that_is_not_settings_is_refused(tmp_path, data):
    file = tmp_path / "fleet.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigurationError):
        load_settings(file)


def test_a_missing_file_and_a_malformed_override_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no configuration file"):
        load_settings(tmp_path / "none.yaml")
    for pair in ("steps", "=3", "mix={a"):
        with pytest.raises(ConfigurationError, match="override"):
            parse_overrides([pair])


def test_the_demo_file_is_plain_yaml_of_known_keys():
    assert yaml.safe_load(yaml.safe_dump(demo_defaults())) == demo_defaults()
