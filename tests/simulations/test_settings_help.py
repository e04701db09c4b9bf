"""What the program says of its settings is complete."""

import pytest
from typer.testing import CliRunner

from simulations.cli import app
from simulations.settings_help import SECTIONS, rows
from tinytrain_core.errors import ConfigurationError


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_explained_once(section: str) -> None:
    found = list(rows(section))
    prefix = "" if section == "fleet" else f"{section}."
    named = [name for names, _, _ in found for name in names.split(", ")]
    assert sorted(named) == sorted(prefix + name for name in SECTIONS[section].model_fields)
    assert [names for names, _, text in found if not text] == []


def test_defaults_are_those_of_a_fleet() -> None:
    defaults = {names: default for section in SECTIONS for names, default, _ in rows(section)}
    assert defaults["devices"] == "24"
    assert defaults["min_ways, max_ways"] == "5, 8"
    assert defaults["faults.drop_out"] == "0.0"
    assert defaults["power.batteries.NAME.capacity_j"] == "required"


def test_one_section_is_shown_alone() -> None:
    shown = CliRunner().invoke(app, ["settings", "links.classes.NAME"]).output
    assert "links.classes.NAME.loss" in shown
    assert "faults" not in shown
    with pytest.raises(ConfigurationError, match="no section 'weather'"):
        CliRunner().invoke(app, ["settings", "weather"], catch_exceptions=False)
