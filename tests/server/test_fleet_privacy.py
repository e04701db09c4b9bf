"""`fleet privacy`: what noise promises by two independent ways of counting, and what it costs."""

import csv
import io
import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from server.fleet.reports.cli import app
from server.fleet.reports.privacy import account, multiplier_for
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.privacy import MAX_MULTIPLIER, MIN_MULTIPLIER, epsilon_spent, gain_half_width

pytest.importorskip("dp_accounting")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["privacy", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_ways_of_counting_agree() -> None:
    found = account(2.0, 30, 1e-6)
    assert found.epsilon == pytest.approx(16.190420, abs=1e-5)
    assert found.epsilon_pld == pytest.approx(found.epsilon, rel=1e-3)
    assert found.epsilon <= found.epsilon_rdp <= 1.1 * found.epsilon


def test_the_noise_for_an_epsilon() -> None:
    multiplier = multiplier_for(8.0, 30, 1e-6)
    assert epsilon_spent(multiplier, 30, 1e-6) == pytest.approx(8.0, rel=1e-3)
    assert account(multiplier, 30, 1e-6).epsilon_pld <= 8.0 + 1e-3


def test_what_no_device_takes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"epsilon 0\.01 for 30 reports"):
        multiplier_for(0.01, 30, 1e-6)
    with pytest.raises(ConfigurationError, match=f"a noise multiplier of 0; a device takes {MIN_MULTIPLIER:g} to"):
        account(0.0, 30, 1e-6)
    with pytest.raises(ConfigurationError, match=f"to {MAX_MULTIPLIER:g}"):
        account(1e6, 30, 1e-6)
    with pytest.raises(ConfigurationError, match="delta 2"):
        account(1.0, 30, 2.0)


def test_the_command() -> None:
    (found,) = json.loads(run("--noise", "2", "--reports", "30", "--spread", "5", "--format", "json"))
    assert found["epsilon"] == pytest.approx(16.19, abs=0.01)
    costs: dict[int, dict[str, Any]] = {row["devices"]: row for row in found["costs"]}
    assert costs[10_000]["interval"] == pytest.approx(100 * gain_half_width(2.0, 10_000, 0.05))
    assert costs[10_000]["interval_without_noise"] == pytest.approx(1.959964 * 5 / 100, rel=1e-6)
    text = run("--noise", "2", "--reports", "30")
    assert "16.19 by privacy loss distributions, 17.16 by Rényi's bound" in text
    assert "7.84" in text
    (inverse,) = json.loads(run("--epsilon", "8", "--format", "json"))
    assert inverse["noise_multiplier"] == pytest.approx(3.576, abs=1e-3)
    rows = list(csv.DictReader(io.StringIO(run("--noise", "2", "--format", "csv"))))
    assert [row["devices"] for row in rows] == ["100", "1000", "10000", "100000"]


@pytest.mark.parametrize("arguments", [[], ["--noise", "2", "--epsilon", "8"]])
def test_one_of_noise_and_epsilon(arguments: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="either --noise or --epsilon"):
        run(*arguments)


def test_without_the_accountants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ConfigurationError, match=r"tinytrain-fleet\[privacy\]"):
        run("--noise", "2")
