"""A fleet's settings: what is refused and how it is said, and how files, flags and overrides stack up."""

from pathlib import Path

import pytest
import yaml

from client.config import MAX_IMAGES
from server.config import MAX_DEADLINE_S
from simulations.settings import (
    CORES,
    SHIPPED,
    FleetSettings,
    build_settings,
    demo_defaults,
    load_settings,
    parse_overrides,
)
from simulations.world.settings import Battery, Link, of_class
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.errors import ConfigurationError

MIX = {"stm32h743": 2, "pi_4": 1, "jetson_nano": 1}
SECTIONS = ("share", "spread", "availability", "links", "power", "faults")


def settings(**overrides):
    return load_settings(None, {"devices": 9, "mix": MIX} | overrides)


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


def test_the_demos_world_is_switched_off():
    demo = load_settings()
    assert all(getattr(demo, section) == FleetSettings.model_fields[section].default for section in SECTIONS)
    assert demo.availability.kind == "always"
    assert not any(demo.spread.model_dump().values())
    assert [demo.links.classes, demo.power.batteries, demo.power.thermal] == [{}, {}, {}]
    assert [demo.faults.drop_out, demo.faults.crash, demo.faults.slow, demo.faults.byzantine] == [0, 0, 0, 0]
    assert (demo.engine, demo.workers, demo.deadline_s) == ("workers", min(CORES, 256), 86_400)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_with_the_program_is_loaded_by_its_name(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # as the demo's own results are called
    assert load_settings(Path(name)).devices == {"demo": 24, "city": 1000}[name]


def test_a_configuration_that_is_nowhere_is_refused_with_those_that_are():
    with pytest.raises(ConfigurationError, match=r"no configuration file at town.*demo and city"):
        load_settings(Path("town"))


def test_the_city_uses_every_section_and_survives_being_saved():
    city = load_settings(Path("city"))
    assert all(getattr(city, section) != FleetSettings.model_fields[section].default for section in SECTIONS)
    assert FleetSettings.model_validate_json(city.model_dump_json()) == city


def test_one_value_of_a_section_is_overridden_and_the_rest_stays(tmp_path):
    file = tmp_path / "fleet.yaml"
    file.write_text("share: {scheme: dirichlet, alpha: 2}\nlinks: {classes: {mcu: {loss: 0.2, latency_s: 1}}}\n")
    pairs = ["share.alpha=0.3", "faults.drop_out=0.1", "links.classes.mcu.loss=0.1", "links.classes.phone.up_bps=5e6"]
    loaded = load_settings(file, parse_overrides(pairs))
    assert (loaded.share.scheme, loaded.share.alpha, loaded.faults.drop_out) == ("dirichlet", 0.3, 0.1)
    assert loaded.links.classes == {"mcu": Link(loss=0.1, latency_s=1), "phone": Link(up_bps=5e6)}
    assert load_settings(file).share.alpha == 2


def test_overrides_leave_what_they_are_laid_on():
    raw = {"share": {"alpha": 2.0}}
    assert build_settings(raw, {"share.alpha": 3.0}).share.alpha == 3
    assert raw == {"share": {"alpha": 2.0}}


def test_later_overrides_are_stronger_and_a_whole_section_replaces_it():
    loaded = load_settings(None, parse_overrides(["share.style=0.4", "share={alpha: 3}", "share.label_noise=0.1"]))
    assert (loaded.share.style, loaded.share.alpha, loaded.share.label_noise) == (0, 3, 0.1)
    mixed = load_settings(None, parse_overrides(["mix.pi_4=40"]))
    assert mixed.mix == demo_defaults()["mix"] | {"pi_4": 40}


def test_a_value_in_the_place_of_a_section_is_not_dropped_silently():
    with pytest.raises(ConfigurationError, match=r"share is 'choice' and no section, so share.alpha cannot be set"):
        build_settings({"share": "choice"}, {"share.alpha": 3.0})


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("share.alhpa=1", r"no setting 'share.alhpa': the keys of share are scheme, alpha"),
        ("shar.alpha=1", r"no setting 'shar.alpha': the keys are devices"),
        ("steps.x=1", r"steps is one value; sections are mix, share, spread"),
        ("share.alpha.x=1", r"share.alpha is one value"),
        ("links.classes.mcu.lose=0.1", r"the keys of links.classes.mcu are down_bps, up_bps, latency_s, loss"),
        ("share={alhpa: 1}", r"share.alhpa.*the keys of share are scheme"),
        ("links.classes.robot.loss=0.1", r"unknown device class 'robot'.*default, gpu, mcu.*pi_4"),
        ("share.alpha=low", r"share.alpha: .*number"),
        ("share.alpha=0", r"share.alpha"),
        ("share.label_noise=1", r"share.label_noise"),
        ("share.scheme=by_age", r"share.scheme.*by_writer"),
        ("spread.memory=9", r"spread.memory"),
        ("spread.speed=.nan", r"spread.speed"),
        ("availability.presence=1.1", r"availability.presence"),
        ("availability.kind=trace", r"kind trace needs a file"),
        ("availability.file=stays.csv", r"stays.csv, but kind is always"),
        ("links.classes.default.loss=1", r"links.classes.default.loss"),
        ("links.classes.default.down_bps=0", r"links.classes.default.down_bps"),
        ("power.batteries.phone.start=0.5", r"power.batteries.phone.capacity_j: Field required"),
        ("power.thermal.phone={hot_after_s: 1, hot_speed: 0}", r"power.thermal.phone.hot_speed"),
        ("faults={drop_out: 0.7, crash: 0.6}", r"drop_out 0.7 and crash 0.6 are more than all"),
        ("faults.byzantine_kind=rude", r"faults.byzantine_kind.*mixed"),
        ("mix.pi_4=1.0e+308", r"mix: the weight of pi_4 is 1e\+308; weights are from 0 to 1e\+09"),
        ("data=2020-13-45", r"'data=2020-13-45': the value is not YAML"),
        ("engine=slurm", r"engine.*flower"),
        ("workers=257", r"workers"),
        ("devices=1000001", r"devices"),
    ],
)
def test_a_wrong_value_or_path_is_named_and_the_right_ones_are_too(pair, words):
    with pytest.raises(ConfigurationError, match=words):
        load_settings(None, parse_overrides([pair]))


def test_the_closest_figure_counts():
    figures = {"default": 1, "mcu": 2, "esp32s3": 3}
    found = [of_class(figures, device_profile(name)) for name in ("pi_4", "stm32f746", "esp32s3")]
    assert found == [1, 2, 3]
    assert of_class({"phone": Battery(capacity_j=1)}, device_profile("pi_4")) is None


def test_the_address_of_a_cluster_is_for_ray() -> None:
    with pytest.raises(ConfigurationError, match="engine is workers, which uses no cluster"):
        build_settings({"ray_address": "10.0.0.5:6379"})
