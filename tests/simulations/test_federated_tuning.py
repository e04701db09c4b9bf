"""What a baseline costs, how its learning rates are chosen, and what its command refuses."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from simulations.federated import tuning
from simulations.federated.account import Cost, Costs, Round, round_costs
from simulations.federated.baseline import Baseline, Finished
from simulations.federated.commands import federated as command
from simulations.federated.options import FederatedSettings
from simulations.federated.orders import QUERY_FEDERATED, TRAIN_ADOPT, TRAIN_FEDERATED
from simulations.federated.table import cost_lines, participants_line, round_line
from simulations.federated.tuning import Tried, Tuned, try_rates, validation_fleet
from simulations.world.visit import Visit, Work
from tests.simulations.federated_fleet import fleet_settings, make_images
from tests.simulations.fleets import make_report
from tinytrain_core.errors import ConfigurationError, TinyTrainError
from tinytrain_core.wire import QUERY_PROFILE, TRAIN_PERSONALISE

RATES = (0.001, 0.01)


def visit(node: int, kind: str, number: int, down: int, up: int, *joules: float) -> Visit:
    works = tuple(Work(i, 2 * j, j) for i, j in enumerate(joules))
    return Visit(node, kind, number, 0.0, 0.0, 1.0, down, up, works)


VISITS = [
    visit(0, QUERY_FEDERATED, 1, 10, 5),
    visit(0, TRAIN_FEDERATED, 1, 1000, 900, 3.0, 4.0),
    visit(1, TRAIN_FEDERATED, 1, 1000, 0),
    visit(0, TRAIN_FEDERATED, 2, 700, 600, 1.0),
    visit(0, TRAIN_ADOPT, 1, 600, 8),
    visit(0, QUERY_PROFILE, 1, 7, 3),
    visit(0, TRAIN_PERSONALISE, 1, 200, 50, 5.0),
]


def test_bytes_and_joules_add_up() -> None:
    costs = Costs.of(VISITS)
    assert costs.total == Cost(7, 3517, 1566, 13.0, 26.0)
    assert costs.federation == Cost(5, 3310, 1513, 8.0, 16.0)
    assert costs.ending == Cost(2, 207, 53, 5.0, 10.0)
    assert round_costs(VISITS, [{0: 1, 1: 1}, {0: 2}, {}]) == [
        Cost(2, 2000, 900, 7.0, 14.0),
        Cost(1, 700, 600, 1.0, 2.0),
        Cost(),
    ]


def test_what_is_printed_of_it() -> None:
    finished = Finished([], [], {}, Costs.of(VISITS))
    lines = cost_lines(finished)
    assert [line.split()[0] for line in lines] == ["phase", "federation", "personalisation", "together"]
    assert "13 J" in lines[3]
    assert participants_line(finished) == ""
    told = {
        "devices_that_can": 2,
        "devices_that_cannot": 1,
        "needed_bytes": 2**21,
        "largest_budget_of_those_bytes": 2**20,
    }
    line = participants_line(Finished([], [], told, Costs.of(VISITS)))
    assert "1 cannot" in line
    assert "2.00 MiB" in line
    assert "1.00 MiB" in line
    found = Round(1, nodes={0: 1, 1: 1}, devices=1, images=9, loss_first=2.0, loss_last=1.0, missing={"late": 1})
    assert round_line(found, 3) == (
        "round 1/3: 1 devices trained on 9 images, loss 2.000 -> 1.000; nodes without a part: 1 late or lost"
    )


def settings(method: str) -> FederatedSettings:
    return FederatedSettings(method=method, rounds=2, local_steps=1)


def accuracy(federation: float, ending: float) -> float:
    return {(0.001, 0.001): 0.5, (0.001, 0.01): 0.7, (0.01, 0.001): 0.6, (0.01, 0.01): 0.7}[federation, ending]


@pytest.mark.parametrize("method", ["fedavg", "tinytrain"])
def test_every_pair_of_rates_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    federations = []

    def run(baseline: Baseline, nodes: object, out: Path) -> None:
        federations.append(baseline.federated.learning_rate)
        for folder, rate in baseline.endings.items():
            folder.mkdir()
            after = accuracy(baseline.federated.learning_rate if method == "fedavg" else 0.001, rate)
            line = make_report(1, 5, 0.4, after).model_dump_json()
            (folder / "reports.jsonl").write_text(line + "\n", encoding="utf-8")

    monkeypatch.setattr(tuning, "run_baseline", run)
    tried: list[Tried] = []
    found = try_rates(fleet_settings(devices=2), settings(method), RATES, tmp_path / "tuning", tried.append)
    assert list(found.tried) == tried
    rates = {"fedavg": (0.001, 0.01), "tinytrain": (None,)}[method]
    assert [(t.federation, t.ending) for t in tried] == [(f, e) for f in rates for e in RATES]
    assert len(federations) == len(rates)  # one federation serves every last personalisation
    assert (found.best.federation, found.best.ending) == (rates[0], 0.01)  # of equals, the lower rate
    fleet, chosen = found.apply(fleet_settings(), settings(method))
    assert fleet.learning_rate == 0.01
    assert chosen.learning_rate == (0.001 if method == "fedavg" else settings(method).learning_rate)
    assert not (tmp_path / "tuning").exists()


def test_validation_users_are_others_to_whom_nothing_happens(tmp_path: Path) -> None:
    fleet = fleet_settings(devices=9, faults={"drop_out": 0.5}, spread={"memory": 0.1}, min_ways=3, max_ways=4)
    users = validation_fleet(fleet, None, 3)
    assert (users.devices, users.data) == (3, "glyphs:validation")
    assert users.seed != fleet.seed
    assert users.faults.drop_out == 0
    assert (users.spread, users.mix, users.min_ways, users.steps) == (fleet.spread, fleet.mix, 3, fleet.steps)
    images = str(make_images(tmp_path / "images", 3, 20))
    for validation in (None, images):
        with pytest.raises(ConfigurationError, match="--validation"):
            validation_fleet(fleet_settings(data=images), validation, 2)
    others = str(make_images(tmp_path / "others", 3, 20))
    assert validation_fleet(fleet_settings(data=images), others, 2).data == others


def test_the_best_is_the_most_accurate_then_the_lowest_rate() -> None:
    tried = tuple(Tried(f, e, a, 3) for f, e, a in ((0.1, 0.1, 0.7), (0.1, 0.01, 0.7), (0.01, 0.1, 0.6)))
    assert Tuned("glyphs", 1, tried).best == tried[1]
    assert Tuned("glyphs", 1, tried).summary()["chosen"]["ending"] == 0.01


WRONG = {
    ("local", "--start", "backbone"): "local starts from random",
    ("fedavg", "--personal-blocks", "2"): "--personal-blocks is for fedper",
    ("fedper", "--personal-blocks", "99"): "mcunet-5fps has 14 blocks",
    ("fedavg", "--fraction", "0"): "fraction",
    ("fedavg", "--tune", "fast"): "is not a list of numbers",
    ("fedavg", "--tune", "0.1,7"): "above 0 and at most 1",
    ("fedrep",): "the known ones are local, global, fedavg, fedper, tinytrain",
    ("fedavg", "-o", "engine=flower"): "engine=workers or engine=ray",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_the_command_says_what_is_wrong(arguments: tuple[str, ...], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [*arguments, "--devices", "2", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, TinyTrainError)
    assert WRONG[arguments] in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_options_reach_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("simulations.federated.commands.run_federated", lambda *a: seen.append(a) or SimpleNamespace())
    monkeypatch.setattr("simulations.federated.commands._show", lambda *_: None)
    app = typer.Typer()
    app.command()(command)
    options = ["--rounds", "3", "--fraction", "0.2", "--local-steps", "4", "--learning-rate", "0.02"]
    flags = ["--ignore-budgets", "--start", "random", "--devices", "2", "-o", "steps=9", "-o", "learning_rate=0.5"]
    result = CliRunner().invoke(app, ["fedper", *options, *flags, "--out", str(tmp_path / "out")])
    assert result.exception is None, result.output
    fleet, federated = seen[0][:2]
    assert (fleet.devices, fleet.steps, fleet.learning_rate) == (2, 9, 0.5)
    expected = {"rounds": 3, "fraction": 0.2, "local_steps": 4, "learning_rate": 0.02, "start": "random"}
    assert federated == FederatedSettings(method="fedper", personal_blocks=1, respect_budgets=False, **expected)
