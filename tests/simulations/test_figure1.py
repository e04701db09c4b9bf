"""Figure 1: the model against the digitised points, and what does and does not fit elsewhere."""

import csv
import json
import sys

import pytest
import typer

from simulations.studies import published
from simulations.studies.cost_commands import figure1
from simulations.studies.figure1 import Row, rows
from simulations.studies.figure1_figure import drawings
from simulations.studies.figure1_model import modelled, rated, swaps
from simulations.studies.figure1_sections import TOO_LARGE, records, section
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.backbones.weights import from_bytes, read_bytes
from tinytrain_core.devices.profile import catalogue, device_profile
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.fewshot.example_tasks import example_task
from tinytrain_core.seeds import Draw
from tinytrain_core.selection.cost import MIB

PI_ZERO = "pi_zero_2w"
POINTS = [(backbone, method) for backbone in published.backbones() for method in published.timed_methods()]


@pytest.fixture(scope="module")
def found() -> list[Row]:
    """One backbone on every device."""
    task = example_task("glyphs", 128, Draw.EVALUATION, 0, 0)
    held = from_bytes(read_bytes("mcunet-5fps"))
    return [row for profile in catalogue().values() for row in rows(profile, "mcunet-5fps", held, task, print)]


def _of(found: list[Row], device: str, method: str) -> Row:
    return next(row for row in found if (row.device, row.method) == (device, method))


def test_the_model_is_within_what_is_stated_of_all_fifteen_points():
    times, energies = [], []
    for backbone, method in POINTS:
        model = modelled(device_profile(PI_ZERO), load_spec(backbone), published.cost(backbone, method))
        paper = published.latency(backbone, method)
        times.append(abs(model.seconds / 60 / paper.minutes - 1))
        energies.append(abs(model.joules / 1000 / paper.kilojoules - 1))
    assert len(times) == 15
    assert max(times) <= 0.082
    assert max(energies) <= 0.089


def test_the_model_by_hand():
    spec, cost = load_spec("mcunet-5fps"), published.cost("mcunet-5fps", "full_train")
    model = modelled(device_profile(PI_ZERO), spec, cost)
    assert model.computing_s == pytest.approx(2000 * (22.453504e6 + 44.9e6) / 105e6)
    assert model.swapping_s == pytest.approx(40 * 0.137 * (906 - 215))
    assert model.joules == pytest.approx(0.81 * model.seconds)
    dry = modelled(device_profile(PI_ZERO), spec, published.cost("mcunet-5fps", "tinytrain"))
    assert dry.swapping_s == 0
    assert dry.joules == pytest.approx(2.16 * dry.seconds)


def test_only_the_figures_own_device_has_a_rate_for_each_backbone():
    spec = load_spec("mbv2-w0.35")
    assert rated(device_profile(PI_ZERO), spec).macs_per_s.value == 81e6
    assert rated(device_profile(PI_ZERO), load_spec("torchvision-mbv2-w0.35")) == device_profile(PI_ZERO)
    assert rated(device_profile("pi_4"), spec) == device_profile("pi_4")


def test_swap_is_for_boards_with_an_operating_system():
    assert {name for name, profile in catalogue().items() if swaps(profile)} == {PI_ZERO, "pi_4", "jetson_nano"}
    too_large = published.cost("mbv2-w0.35", "full_train")
    assert modelled(device_profile("phone"), load_spec("mbv2-w0.35"), too_large) is None
    pi_4 = modelled(device_profile("pi_4"), load_spec("mbv2-w0.35"), too_large)
    assert pi_4.swapping_s == pytest.approx(40 * 0.137 * (1049 - 1024))
    assert pi_4.joules == pytest.approx(7.2 * 0.81 / 2.16 * pi_4.seconds)


def test_what_fits_which_device(found):
    for method in published.timed_methods():
        smallest = _of(found, "stm32f746", method)
        assert smallest.model is None
        assert smallest.own.cost is None
        assert smallest.own.memory_mib > smallest.usable_mib
        assert _of(found, "jetson_nano", method).model.swapping_s == 0
    small = _of(found, "stm32h743", "tinytrain")
    assert small.model is not None
    assert small.own.alive == 1
    assert small.own.memory_mib <= small.usable_mib
    assert _of(found, "phone", "full_train").model is None
    assert _of(found, "phone", "full_train").own.cost is not None


def test_this_engine_takes_less_time_than_the_papers_model(found):
    for method in published.timed_methods():
        row = _of(found, PI_ZERO, method)
        assert 0 < row.own.minutes < row.minutes
        assert row.own.cost.energy_j == pytest.approx(2.16 * row.own.cost.time_s)


def test_a_table_says_what_does_not_fit_and_what_it_needs(found):
    table = section("stm32f746", [row for row in found if row.device == "stm32f746"])
    assert table.rows[0][2] == "906 MiB of 288 KiB"
    assert all(TOO_LARGE in row for row in table.rows)
    assert "Figure 1" not in " ".join(table.columns)
    assert "no swap" in table.notes[0]


def test_a_table_of_the_figures_own_device_has_its_errors(found):
    table = section(PI_ZERO, [row for row in found if row.device == PI_ZERO])
    assert {"minutes,\nFigure 1", "kJ,\nerror", "of them\nswapping"} <= set(table.columns)
    assert table.notes[0].startswith("Largest error of the model: 6.3 % in time")


def test_plots_are_of_devices_that_something_fits(found):
    by_device = {name: [row for row in found if row.device == name] for name in catalogue()}
    assert drawings(by_device["stm32f746"]) == {}
    drawn = drawings(by_device[PI_ZERO])
    assert list(drawn) == ["figure1-pi_zero_2w-time", "figure1-pi_zero_2w-energy"]
    (axes,) = drawn["figure1-pi_zero_2w-time"].axes
    assert axes.get_yscale() == "log"
    assert len(axes.patches) == len(published.timed_methods())


def test_records_are_flat_and_say_what_is_missing(found):
    made = records(found)
    assert len({tuple(record) for record in made}) == 1
    missing = next(record for record in made if not record["fits"])
    assert missing["minutes"] is None
    assert missing["needed_mib"] > missing["usable_mib"]


def _run(*arguments: str) -> None:
    app = typer.Typer()
    app.command()(figure1)
    app(list(arguments), standalone_mode=False)


def test_the_command_writes_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinytrain-sim", "figure1"])
    devices = ("--device", "stm32h743", "--device", "phone")
    _run(*devices, "--backbone", "proxyless-w0.3", "--out", str(tmp_path))
    assert "does not fit" in capsys.readouterr().out
    lines = list(csv.DictReader((tmp_path / "figure1.csv").read_text().splitlines()))
    assert [line["device"] for line in lines] == ["stm32h743"] * 5 + ["phone"] * 5
    assert json.loads((tmp_path / "figure1.json").read_text())["rows"][0]["fits"] is False
    assert len(list(tmp_path.glob("*.svg"))) == 4
    assert "Phone, one big core" in (tmp_path / "figure1.html").read_text()


def test_a_device_that_is_not_in_the_catalogue():
    with pytest.raises(ConfigurationError, match="pdp11"):
        _run("--device", "pdp11")


def test_memory_is_in_mebibytes(found):
    assert _of(found, "phone", "tinytl").usable_mib * MIB == device_profile("phone").memory_bytes
