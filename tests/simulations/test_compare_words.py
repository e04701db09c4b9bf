"""What a comparison says of runs that are not quite alike: settings, pairs, averaged models, and how far axes reach."""

import json
import re
from dataclasses import replace

import pytest

from simulations.comparing import figures
from simulations.comparing.compared import read_compared
from simulations.comparing.differences import differences
from simulations.comparing.sections import comparison_sections
from simulations.comparing.settings import differing_settings, reasons_text
from simulations.finished_run import write_html
from simulations.reporting.sections import Page, render_page, sections_text
from simulations.settings import load_settings
from tests.simulations.run_folders import Story, write_run

GAINS = {number: 0.05 + number / 200 for number in range(1, 13)}
BETTER = {number: gain + 0.02 + number % 3 / 100 for number, gain in GAINS.items()}


@pytest.fixture
def place(tmp_path):
    """Two runs of the same devices, of which the first lacks some."""
    write_run(tmp_path / "tinytrain", Story(gains=GAINS, causes={0: "battery"}))
    write_run(tmp_path / "full", Story(gains=BETTER), load_settings(None, {"devices": 12, "method": "full_train"}))
    return tmp_path


def of(place, *names):
    return read_compared([place / name for name in names])


def federate(folder, **asked):
    file = folder / "fleet.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"federated": asked}))


def test_gains_over_an_averaged_model_are_told_apart(place):
    federate(place / "full", method="fedavg", rounds=5)
    compared = of(place, "tinytrain", "full")
    notes = comparison_sections(compared, differences(compared))[0].notes
    assert any("Of full the accuracy before is that of the averaged model" in note for note in notes)
    text = write_html(place / "full", compared[1].run).read_text()
    assert '<span class="label">accuracy after</span>' in text
    assert "accuracy gained" not in text
    assert "averaged backbone" in text
    assert "accuracy gained" in write_html(place / "tinytrain", compared[0].run).read_text()


def test_what_a_baseline_makes_no_use_of_is_no_difference(place):
    asked = {"rounds": 5, "fraction": 1.0, "learning_rate": 0.01, "personal_blocks": 0}
    federate(place / "full", method="global", local_steps=7, **asked)
    assert "federated.local_steps" not in differing_settings(of(place, "tinytrain", "full"))
    federate(place / "full", method="fedavg", local_steps=7, **asked)
    assert differing_settings(of(place, "tinytrain", "full"))["federated.local_steps"] == [None, 7]


def test_pairs_are_those_with_a_result_in_both(place):
    compared = of(place, "tinytrain", "full")
    notes = comparison_sections(compared, differences(compared))[1].notes
    there = len(compared[0].by_device)
    said = f"a result in both: {there} of 12; tinytrain has {there} with a result, full has 12"
    assert there < 12
    assert any(said in note for note in notes)


def test_settings_that_differ_are_a_row_each_of_whole_keys(place):
    changes = {"devices": 12, "mix": {"stm32h743": 1, "phone": 2}, "faults.drop_out": 0.5}
    write_run(place / "mixed", Story(gains=GAINS), load_settings(None, changes))
    compared = of(place, "tinytrain", "mixed")
    section = comparison_sections(compared, differences(compared))[3]
    assert {row[0] for row in section.rows} >= {"mix.phone", "mix.stm32h743", "faults.drop_out"}
    text = sections_text([section])
    assert re.search(r"^ faults.drop_out +0.0 +0.5$", text, re.MULTILINE)
    assert "" not in text.strip().splitlines()[3:]
    short = sections_text([replace(section, shown=2)])
    assert f"and {len(section.rows) - 2} more: see the page" in short
    assert "faults.drop_out" not in short
    assert "faults.drop_out" in render_page(Page("t", "l", "c"), [replace(section, shown=2)])


def test_why_devices_differ_is_said_in_a_few_words():
    reasons = ["mix.phone: none and 2", "mix.mcu: 1 and 3", "seed: 0 and 7"]
    assert reasons_text(reasons) == "mix (2 settings); seed: 0 and 7"


@pytest.mark.parametrize(("quantity", "low", "high"), [("gain", -100, 100), ("accuracy after", 0, 100)])
def test_axes_end_where_accuracies_do(place, monkeypatch, quantity, low, high):
    write_run(place / "wild", Story(gains={n: 0.5 if n % 2 else -0.4 for n in range(1, 13)}))
    compared = of(place, "wild", "full")
    assert any(row.gain.interval > 1 for row in compared[0].account.summary.rows if row.gain.interval)
    monkeypatch.setattr(figures, "to_svg", lambda figure, *_: figure)
    (axes,) = figures.dots_figure(compared, quantity).axes
    left, right = axes.get_xlim()
    assert low - figures.EDGE <= left < right <= high + figures.EDGE
    drawn = [x for line in axes.lines for x in line.get_xdata()]
    assert low <= min(drawn) <= max(drawn) <= high
