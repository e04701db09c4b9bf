"""What the manuals say is what the code says."""

from pathlib import Path

from simulations.results.columns import columns_markdown
from simulations.world.world import Cause

SIMULATING = (Path(__file__).parent.parent / "docs" / "simulating.md").read_text(encoding="utf-8")


def test_the_manual_has_every_column_of_the_table() -> None:
    assert columns_markdown().strip() in SIMULATING


def test_the_manual_names_every_cause_of_the_world() -> None:
    for cause in Cause:
        assert f"`{cause.value}`" in SIMULATING
