"""Plots of figures: what sets their axes, and what is drawn on them."""

import re

import pytest

from server.fleet.reports.figures import fleet_figures
from server.fleet.reports.plots import plots
from server.fleet.reports.rows import By
from tests.server.fleet_store import good
from tests.server.test_fleet_figures import stored, withheld


@pytest.mark.parametrize("by", [[By.CLASS], [By.DAY, By.CLASS]])
def test_noise_does_not_stretch_the_axis_of_the_others(by: list[By]) -> None:
    reports = [stored(good(n, before=0.5, after=0.7 + n / 100), day=day) for n in range(10) for day in (0, 1)]
    noisy = [stored(withheld(n, "phone", -5.0, 5.0 + n), day=day) for n in range(20, 30) for day in (0, 1)]
    found = {title: drawn for title, _, drawn in plots(fleet_figures(reports + noisy, by, 5))}
    ticks = [float(text) for text in re.findall(r">([0-9.]+)</text>", found["What personalising gains"])]
    assert min(ticks) == 0
    assert 20 < max(ticks) < 50  # gains are 20 to 29 points; with noise 1,020 and more


def test_colours_are_those_of_the_page() -> None:
    drawn = "".join(plot[2] for plot in plots(fleet_figures([stored(good(n)) for n in range(10)], [By.CLASS], 5)))
    assert "var(--class-0)" in drawn
    assert not re.search("#0[12]0[12]", drawn)
    ids = re.findall(r' id="([^"]+)"', drawn)
    assert len(ids) == len(set(ids))
