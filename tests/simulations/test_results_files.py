"""The table as files, and what is read of a run's folder."""

import csv
import json

import pytest
from pyarrow import parquet

from simulations.finished_run import read_run, write_results
from simulations.results.columns import COLUMNS, FIGURES, Kind, columns_markdown
from simulations.results.happened import Spread, happened
from simulations.results.journeys import journeys
from simulations.results.table import device_rounds
from simulations.settings import load_settings
from simulations.world.visit import Visit, Work
from tests.simulations.run_folders import Story, write_run
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.report import PersonalisationReport
from tinytrain_core.wire import QUERY_PROFILE, TRAIN_PERSONALISE

TWO_ROUNDS = {"devices": 12, "rounds": 2}


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path / "run", Story(causes={1: "battery"}), load_settings(None, TWO_ROUNDS))
    write_results(tmp_path / "run", read_run(tmp_path / "run"))
    return tmp_path / "run"


def test_both_files_hold_the_same_table(folder):
    typed = parquet.read_table(folder / "devices.parquet").to_pylist()
    with (folder / "devices.csv").open(newline="") as stream:
        plain = list(csv.DictReader(stream))
    assert len(typed) == len(plain) == 24
    for cells, texts in zip(typed, plain, strict=True):
        assert {name: "" if cell is None else str(cell) for name, cell in cells.items()} == texts


def test_columns_have_the_types_that_they_say(folder):
    schema = parquet.read_schema(folder / "devices.parquet")
    types = {Kind.INTEGER: "int64", Kind.NUMBER: "double", Kind.TEXT: "string"}
    assert [(field.name, str(field.type)) for field in schema] == [(c.name, types[c.kind]) for c in COLUMNS]


def test_equal_runs_give_equal_bytes(folder, tmp_path):
    files = [folder / "devices.csv", folder / "devices.parquet"]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    write_results(folder, read_run(folder))
    assert [file.read_bytes() for file in files] == before


def test_every_column_is_named_once_and_explained():
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)
    assert all(column.meaning for column in COLUMNS)
    page = columns_markdown()
    assert page.count("\n") == len(COLUMNS) + 2
    assert "| `gain` | number | share | accuracy_after - accuracy_before |" in page
    scalars = {n for n, field in PersonalisationReport.model_fields.items() if isinstance(field.default, int | float)}
    named = {"schema_version", "device", "profile", "round", "method", "outcome", "error"}
    assert {column.name for column in FIGURES} == scalars - named


@pytest.mark.parametrize("name", ["nodes.jsonl", "visits.jsonl"])
def test_a_damaged_line_is_named(folder, name):
    lines = (folder / name).read_bytes().splitlines()
    (folder / name).write_bytes(b"\n".join([lines[0], lines[1][:20], *lines[2:]]))
    with pytest.raises(ConfigurationError, match=rf"{name}, line 2"):
        read_run(folder)


def test_a_damaged_account_of_the_engine_is_refused(folder):
    (folder / "simulation.json").write_text(json.dumps({"workers": "many"}))
    with pytest.raises(ConfigurationError, match=r"simulation\.json is damaged"):
        read_run(folder)


def visit(kind, sent_s, node=0, **fields):
    return Visit(node, kind, 1, sent_s, down_bytes=10, up_bytes=1, **fields)


def test_a_round_begins_when_its_nodes_are_asked():
    worked = (Work(1, 5.0, 2.0),)
    found = journeys(
        [
            visit(QUERY_PROFILE, 100.0),
            visit(QUERY_PROFILE, 100.0, node=1),
            visit(TRAIN_PERSONALISE, 101.0, arrived_s=110.0, works=worked),
            visit(QUERY_PROFILE, 120.0),
            visit(TRAIN_PERSONALISE, 121.0, cause="battery"),
        ]
    )
    assert [(r.start_s, sorted(r.by_node)) for r in found.rounds] == [(100.0, [0, 1]), (120.0, [0])]
    first, second = (r.by_node[0] for r in found.rounds)
    assert (first.sent_s, first.arrived_s, first.down_bytes, first.works) == (101.0, 110.0, 20, {1: (5.0, 2.0)})
    assert (second.cause, second.arrived_s) == ("battery", None)
    assert (found.duration_s, found.energy_j, found.down_bytes, found.up_bytes, found.messages) == (21.0, 2.0, 50, 5, 5)


def test_federated_training_before_belongs_to_the_first_round():
    before = [visit("train.federated", at_s, arrived_s=at_s + 4, works=(Work(1, 5.0, 2.0),)) for at_s in (10.0, 20.0)]
    found = journeys([*before, visit(QUERY_PROFILE, 30.0), visit(TRAIN_PERSONALISE, 31.0, works=(Work(1, 1.0, 1.0),))])
    (only,) = found.rounds
    assert only.by_node[0].works == {1: (11.0, 5.0)}
    assert only.by_node[0].sent_s == 31.0


def test_what_happened_adds_up(folder):
    run = read_run(folder)
    whole, *classes = happened(device_rounds(run.accounts))
    lost = sum(len(run.hosted.numbers) and node == 1 for node in run.hosted.nodes)
    assert (whole.devices, whole.tries, whole.results) == (12, 24, 24 - 2 * lost)
    assert whole.causes == {"battery": 2 * lost}
    assert (whole.energy_j.mean, whole.energy_j.count) == (4.0, 12 - lost), "a device is one sample, not one a round"
    assert whole.total_j == pytest.approx(run.journeys.energy_j)
    assert (whole.down_bytes, whole.up_bytes) == (run.journeys.down_bytes, run.journeys.up_bytes)
    for name in ("devices", "tries", "results", "down_bytes"):
        assert sum(getattr(row, name) for row in classes) == getattr(whole, name)
    assert whole.memory.median == whole.memory.greatest == 0.5
    assert whole.macs is None  # no budget in these reports


def test_a_spread_is_quantiles_and_a_curve_of_few_points():
    found = Spread.of([float(n) for n in range(1001)])
    assert (found.count, found.median, found.ninth, found.greatest) == (1001, 500.0, 900.0, 1000.0)
    assert (len(found.curve), found.curve[0], found.curve[-1]) == (200, 0.0, 1000.0)
    assert Spread.of([]) is None
    assert Spread.of([3.0]).curve == (3.0,)


def test_a_curve_begins_with_nobody_and_ends_with_all():
    assert Spread.of([3.0]).steps(1.0, 5.0) == ([1.0, 3.0, 5.0], [0.0, 1.0, 1.0])
    assert Spread.of([2.0, 4.0]).steps(2.0, 4.0) == ([2.0, 2.0, 4.0, 4.0], [0.0, 0.5, 1.0, 1.0])


def test_how_it_ended_is_of_the_last_round_alone(folder):
    whole = read_run(folder).account.whole
    assert {cause: 2 * count for cause, count in whole.ended.items()} == whole.causes
    assert whole.ended


def test_gains_are_rounded_to_what_they_mean(folder):
    with (folder / "devices.csv").open(newline="") as stream:
        assert {row["gain"] for row in csv.DictReader(stream)} == {"0.1", ""}
