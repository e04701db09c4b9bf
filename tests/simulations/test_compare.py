"""Runs side by side: what is paired, what is not, and what goes wrong."""

import json
import re
import sys
from dataclasses import replace

import pytest
import typer

from simulations.comparing.commands import compare, report
from simulations.comparing.compared import read_compared
from simulations.comparing.differences import differences
from simulations.comparing.fields import comparison_fields
from simulations.comparing.sections import _classes, comparison_sections
from simulations.comparing.settings import differing_settings, why_unpaired
from simulations.finished_run import write_html
from simulations.reporting.sections import sections_text
from simulations.settings import load_settings
from tests.simulations.run_folders import Story, write_run
from tests.simulations.test_report_page import Balance
from tinytrain_core.console import run_cli
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.statistics import paired

GAINS = {number: 0.05 + number / 200 for number in range(1, 13)}
BETTER = {number: gain + 0.02 + number % 3 / 100 for number, gain in GAINS.items()}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Runs of 12 devices: two of the same devices, one of others, and one of before journeys were told."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "tinytrain", Story(gains=GAINS, causes={0: "battery"}))
    write_run(tmp_path / "full", Story(gains=BETTER), load_settings(None, {"devices": 12, "method": "full_train"}))
    write_run(tmp_path / "others", Story(gains=BETTER), load_settings(None, {"devices": 12, "seed": 7}))
    write_run(tmp_path / "old", Story(gains=GAINS), old=True)
    return tmp_path


def of(place, *names):
    return read_compared([place / name for name in names])


def test_the_same_devices_are_paired(place):
    compared = of(place, "tinytrain", "full")
    assert why_unpaired(*compared) == []
    found = {(d.quantity, d.profile): d for d in differences(compared)}
    fleet = found["accuracy after", None]
    first, second = (one.by_device for one in compared)
    both = sorted(first.keys() & second.keys())
    assert len(both) == 12 - len(compared[0].run.account.whole.causes) == fleet.found.count
    expected = paired([second[d].accuracy_after for d in both], [first[d].accuracy_after for d in both])
    assert (fleet.found, fleet.rank_p is not None) == (expected, True)
    assert fleet.found.mean == pytest.approx(sum(BETTER[d] - GAINS[d] for d in both) / len(both))
    assert found["gain", None].found.mean == pytest.approx(fleet.found.mean)
    classes = [d for d in found.values() if d.profile is not None]
    assert sum(d.found.count for d in classes) == len(both)


def test_other_devices_are_compared_as_groups_and_the_page_says_why(place):
    compared = of(place, "tinytrain", "others")
    assert why_unpaired(*compared) == ["seed: 0 and 7"]
    found = differences(compared)
    assert all(difference.rank_p is None for difference in found)
    text = sections_text(comparison_sections(compared, found))
    assert "these settings differ: seed: 0 and 7" in " ".join(text.split())
    paired_interval = differences(of(place, "tinytrain", "full"))[0].found.interval
    assert found[0].found.interval > paired_interval


def test_a_devices_number_that_two_reports_carry_is_left_out(place):
    file = place / "full" / "reports.jsonl"
    lines = file.read_text().splitlines()
    lie = json.dumps(json.loads(lines[4]) | {"accuracy_after": 1.0})
    file.write_text("\n".join([*lines, lie]) + "\n")
    assert set(of(place, "full", "others")[0].by_device) == set(range(1, 13)) - {5}


def test_several_runs_are_corrected_for(place):
    write_run(place / "third", Story(gains=GAINS), load_settings(None, {"devices": 12, "method": "last_layer"}))
    found = differences(of(place, "tinytrain", "full", "third"))
    fleet = [d for d in found if d.profile is None and d.quantity == "accuracy after"]
    assert [d.run for d in fleet] == ["full", "third"]
    assert fleet[0].holm_p == pytest.approx(2 * fleet[0].found.p_value)
    assert fleet[1].holm_p == 1.0


def test_settings_that_differ_are_told_and_those_without_effect_are_not(place):
    settings = load_settings(None, {"devices": 12, "workers": 7, "steps": 3, "faults.drop_out": 0.5})
    write_run(place / "lossy", settings=settings)
    assert differing_settings(of(place, "old", "lossy")) == {"steps": [40, 3], "faults.drop_out": [0.0, 0.5]}
    assert why_unpaired(*of(place, "old", "lossy")) == []


def test_runs_of_before_are_compared_in_what_they_say(place):
    compared = of(place, "old", "full")
    text = sections_text(comparison_sections(compared, differences(compared)))
    (row,) = re.findall(r"^ whole fleet +old +–.*$", text, re.MULTILINE)
    assert "J" not in row
    fields = comparison_fields(compared, differences(compared))
    assert ["happened" in run for run in fields["runs"]] == [False, True]


def test_a_baseline_has_its_own_name(place):
    file = place / "full" / "fleet.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"federated": {"method": "fedavg", "rounds": 5}}))
    compared = of(place, "tinytrain", "full")
    assert [one.name for one in compared] == ["tinytrain", "full"]
    assert compared[1].method == "fedavg"
    assert "fedavg on a fleet of 12" in write_html(place / "full", compared[1].run).read_text()
    assert differing_settings(compared)["federated.method"] == [None, "fedavg"]


def test_names_are_given_or_folders_and_clashes_are_paths(place):
    write_run(place / "more" / "full")
    folders = [place / "full", place / "more" / "full"]
    assert [one.name for one in read_compared(folders)] == list(map(str, folders))
    assert [one.name for one in read_compared(folders, ["a", "b"])] == ["a", "b"]


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Call the commands: (exit code, standard output, standard error)."""
    app = typer.Typer(pretty_exceptions_enable=False)
    for command in (compare, report):
        app.command()(command)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tinytrain-sim", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_cli(app, "tinytrain-sim")
        return ended.value.code or 0, *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tinytrain",), "2 to 8 runs; 1 given: tinytrain"),
        (("tinytrain", "nowhere"), "no fleet.json in nowhere"),
        (("tinytrain", "tinytrain"), "given twice"),
        (("tinytrain", "full", "--name", "a"), "1 times --name for 2 runs"),
        (("tinytrain", "full", "--name", "a", "--name", "a"), "called the same"),
        (("tinytrain", "twice"), "different numbers of rounds: tinytrain 1, twice 2"),
    ],
)
def test_a_mistake_is_one_message(run, place, arguments, words):
    write_run(place / "twice", settings=load_settings(None, {"devices": 12, "rounds": 2}))
    code, _, err = run("compare", *arguments)
    assert code == ConfigurationError.exit_code
    assert words in err
    assert not (place / "compare.html").exists()


def test_the_command_writes_a_page_that_fetches_nothing(run, place):
    code, out, _ = run("compare", "tinytrain", "full", "others", "--out", "page.html")
    assert code == 0
    for words in ("Accuracy", "Against tinytrain", "What it took", "Settings that differ", "full_train"):
        assert words in out
    text = (place / "page.html").read_text()
    parser = Balance()
    parser.feed(text)
    assert (parser.open, parser.fetched, "http" in text) == ([], [], False)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_json_is_alone_and_whole(run):
    code, out, _ = run("compare", "tinytrain", "others", "--format", "json")
    told = json.loads(out)
    assert code == 0
    assert [one["name"] for one in told["runs"]] == ["tinytrain", "others"]
    assert told["unpaired"] == {"others": ["seed: 0 and 7"]}
    assert told["settings"] == {"seed": [0, 7]}
    assert told["differences"][0]["found"]["mean"] == pytest.approx(0.03, abs=0.1)


def test_a_run_is_reported_again_with_its_tables(run, place):
    code, out, _ = run("report", "tinytrain")
    assert code == 0
    assert "worst tenth" in out
    assert "virtual time" in out
    assert "(battery)" in out
    assert {"devices.csv", "devices.parquet", "report.html"} <= {path.name for path in (place / "tinytrain").iterdir()}
    told = json.loads(run("report", "tinytrain", "--format", "json")[1])
    assert told["happened"]["fleet"]["causes"] == {"battery": 1}
    assert "curve" not in told["happened"]["fleet"]["time_s"]


@pytest.mark.filterwarnings("error")
def test_runs_without_any_result_are_compared_in_that(place):
    lost = Story(causes=dict.fromkeys(range(12), "crash"))
    for name in ("lost", "away"):
        write_run(place / name, lost)
    compared = of(place, "lost", "away")
    found = differences(compared)
    assert found == []
    assert "12 (100.0 %)" in sections_text(comparison_sections(compared, found))


def test_a_name_with_dollars_is_no_formula(place):
    compared = read_compared([place / "tinytrain", place / "full"], ["$\\frac$", "$5 and $6"])
    assert "$5 and $6" in "".join(comparison_sections(compared, differences(compared))[0].plots)


def test_an_unknown_class_keeps_its_costs(place):
    account = of(place, "tinytrain", "full")[1].run.account
    unknown = replace(account.classes[0], name="")
    rows = _classes(replace(account, classes=(*account.classes, unknown)))
    assert rows[0] == (None, unknown)
    assert len(rows) == 1 + len(account.classes)
