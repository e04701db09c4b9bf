"""Studies that really run: resumed, in parallel, interrupted, refused."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time

import pytest
import torch
import typer
from typer.testing import CliRunner

from simulations.studies.accuracy_commands import ablation, table1
from simulations.studies.runner import Runner, Unit
from simulations.studies.study_loading import load_study
from simulations.studies.study_progress import Estimate, StudyProgress
from simulations.studies.study_run import run_study
from simulations.studies.study_settings import StudySettings
from simulations.studies.table1 import Table1Settings
from simulations.studies.trials import TRIALS_FILE, Purpose, read_trials
from simulations.studies.workers import Workers
from tests.simulations.fleets import make_folder
from tinytrain_core.console import run_cli
from tinytrain_core.errors import ConfigurationError, DataError, ErrorCode, FleetError, TooFewImagesError

FLAGS = [
    *("--data", "A=glyphs:test", "--validation", "B=glyphs:validation", "--backbone", "mcunet-5fps"),
    *("--ways", "2", "--shots", "2", "--queries", "2", "--steps", "1", "--views", "1", "--rates", "0.001,0.003"),
    *("--methods", "none", "--methods", "last_layer", "--methods", "tinytrain"),
    *("--trials", "3", "--validation-trials", "2"),
]
SETTINGS = {
    "data": ["A=glyphs:test"],
    "validation": ["B=glyphs:validation"],
    "backbones": ["mcunet-5fps"],
    "methods": ["none", "last_layer", "tinytrain"],
    "rates": [0.001, 0.003],
    "trials": 3,
    "validation_trials": 2,
    **dict.fromkeys(("ways", "shots", "queries"), 2),
    **dict.fromkeys(("steps", "views"), 1),
}
UNITS = 2 * 2 * 2 + 3 * 3
PROGRAM = "from tests.simulations.test_table1 import main; main()"


def app() -> typer.Typer:
    program = typer.Typer(pretty_exceptions_enable=False)
    program.command()(table1)
    program.command()(ablation)
    return program


def main() -> None:
    torch.set_num_threads(1)
    run_cli(app(), "tinytrain-sim")


def call(*arguments: object):
    return CliRunner().invoke(app(), [str(argument) for argument in arguments])


def load(**changes) -> Table1Settings:
    return load_study(Table1Settings, None, SETTINGS | changes)


def silent() -> StudyProgress:
    return StudyProgress(lambda done, total, text: None)


def run(out, settings: StudySettings, workers: int = 1):
    run_study(settings, out, "tinytrain-sim table1", workers, silent())
    return kept(out)


def kept(out):
    """The trials but for how long they took."""
    return {key: trial.model_copy(update={"seconds": 0}) for key, trial in read_trials(out).items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study that ran in one process without a break."""
    out = tmp_path_factory.mktemp("whole")
    assert len(run(out, load())) == UNITS
    return out


def test_validation_comes_first_and_then_task_by_task(whole):
    keys = list(read_trials(whole))
    assert [key.purpose for key in keys] == [Purpose.VALIDATION] * 8 + [Purpose.TEST] * 9
    assert {key.data for key in keys[:8]} == {"B"}
    assert [key.trial for key in keys[8:]] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_every_method_has_the_same_tasks(whole):
    tests = [trial for trial in read_trials(whole).values() if trial.purpose is Purpose.TEST]
    for number in range(3):
        of_task = [trial for trial in tests if trial.trial == number]
        assert len({(trial.seed, trial.accuracy_before) for trial in of_task}) == 1
    assert len({trial.seed for trial in tests}) == 3
    assert {trial.learning_rate for trial in tests if trial.method == "none"} == {0.0}


def test_two_workers_give_the_same_trials(whole, tmp_path):
    assert run(tmp_path, load(), workers=2) == kept(whole)


def ended_by(which: signal.Signals, out, *flags: str) -> tuple[int, str]:
    """Run the program until a few trials are stored, and end it: its exit code, and what it told."""
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # what a shell's `&` takes away
    program = f"{heeds}; {PROGRAM}"
    command = [sys.executable, "-c", program, "table1", *FLAGS, "--trials", "500", "--out", str(out), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    file = out / TRIALS_FILE
    while not file.exists() or len(file.read_bytes().splitlines()) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(which)
    _, told = process.communicate(timeout=60)
    return process.returncode, told


def test_a_killed_study_goes_on_and_ends_the_same(whole, tmp_path):
    ended_by(signal.SIGKILL, tmp_path, "--workers", "2")
    assert len(read_trials(tmp_path)) >= 3
    again, expected = run(tmp_path, load()), kept(whole)
    assert {key: again[key] for key in expected} == expected


def test_an_interrupt_keeps_what_has_ended(whole, tmp_path):
    code, told = ended_by(signal.SIGINT, tmp_path, "--workers", "1")
    assert code == 130
    assert "interrupted" in told
    assert "Traceback" not in told
    found, expected = kept(tmp_path), kept(whole)
    assert len(found) >= 3
    assert all(found[key] == expected[key] for key in found.keys() & expected.keys())


def test_more_trials_methods_and_data_go_on_with_what_is_there(whole, tmp_path):
    before = run(tmp_path, load(trials=1, methods=["none", "tinytrain"]))
    file = tmp_path / TRIALS_FILE
    stored = file.read_bytes()
    after = run(tmp_path, load())
    assert file.read_bytes().startswith(stored)
    assert after == kept(whole)
    assert before.items() <= after.items()
    more = run(tmp_path, load(data=["A=glyphs:test", "C=glyphs:train"]))
    assert after.items() <= more.items()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 2}, "steps is 1 there and 2 here"),
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"data": ["A=glyphs:train"]}, "test/A is glyphs:test there and glyphs:train here"),
        ({"backbones": ["mcunet-5fps=mbv2-w0.35"]}, "meta/mcunet-5fps is"),
    ],
)
def test_another_study_is_refused_and_nothing_is_touched(whole, changes, words):
    before = {file.name: file.read_bytes() for file in whole.iterdir()}
    with pytest.raises(ConfigurationError, match=words):
        run(whole, load(**changes))
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == before


def test_another_kind_of_study_is_refused(whole):
    result = call("ablation", "--report", "--out", whole)
    assert isinstance(result.exception, ConfigurationError)
    assert "a study of the kind table1" in str(result.exception)


def test_the_report_is_made_again_of_what_is_stored(whole, monkeypatch):
    monkeypatch.setattr(Runner, "run", None)
    result = call("table1", "--report", "--out", whole)
    assert result.exit_code == 0, result.exception
    assert "tinytrain" in result.stdout
    assert "± " in (whole / "table1.txt").read_text()
    assert "</html>" in (whole / "table1.html").read_text()
    assert len((whole / "table1.csv").read_text().splitlines()) == 4
    told = json.loads(call("table1", "--report", "--format", "json", "--out", whole).stdout)
    assert {cell["name"] for cell in told["cells"]} == {"none", "last_layer", "tinytrain"}
    assert {found["chosen"] for found in told["sweeps"]} <= {0.001, 0.003}


def test_a_whole_command_that_has_nothing_left_to_do(whole):
    result = call("table1", *FLAGS, "--workers", 1, "--out", whole)
    assert result.exit_code == 0, result.exception
    assert "Learning rates" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rates", "fast"), "--rates fast is not a list"),
        (("--report",), "holds no study"),
        (("--data", "Fungi"), "Fungi cannot be downloaded"),
    ],
)
def test_a_mistake_is_one_message(tmp_path, arguments, words):
    result = call("table1", *arguments, "--out", tmp_path / "none")
    assert isinstance(result.exception, ConfigurationError)
    assert words in str(result.exception)


def test_data_that_is_not_enough_is_told_at_once(tmp_path):
    few = make_folder(tmp_path / "few", dict.fromkeys("abc", 3))
    with pytest.raises(DataError, match=r"the validation data B: 2 ways of 2 \+ 2 images wanted"):
        run(tmp_path / "out", load(validation=[f"B={few}"]))
    assert not (tmp_path / "out").exists()


def test_a_task_without_images_is_a_result(monkeypatch):
    def refuse(*_: object) -> None:
        raise TooFewImagesError("none is left")

    monkeypatch.setattr("simulations.studies.runner.load_episode", refuse)
    settings = load()
    unit = Unit(Purpose.TEST, "A", "mcunet-5fps", settings.arms()[2], 0.001, 0)
    trial = Runner(settings).run(unit)
    assert (trial.outcome, trial.error) == ("failed", ErrorCode.TOO_FEW_IMAGES.name.lower())
    assert trial.accuracy_after is None


def test_a_worker_that_dies_costs_no_trial(tmp_path):
    settings = load(trials=30)
    units = [Unit(Purpose.TEST, "A", "mcunet-5fps", settings.arms()[2], 0.001, number) for number in range(30)]
    with Workers(settings, 2) as workers:
        trials = workers.run(units)
        first = next(trials)
        multiprocessing.active_children()[0].kill()
        assert sorted(trial.trial for trial in [first, *trials]) == list(range(30))


def test_a_unit_that_takes_its_worker_with_it_is_told(monkeypatch):
    monkeypatch.setattr("simulations.studies.workers.FUNCTION", "tests.simulations.jobs:ends")
    settings = load()
    with Workers(settings, 2) as workers, pytest.raises(FleetError, match="exit code 3; what had ended"):
        list(workers.run([Unit(Purpose.TEST, "A", "mcunet-5fps", settings.arms()[2], 0.001, 0)]))


def test_the_estimate_is_by_what_such_a_unit_takes(whole):
    settings, estimate = load(), Estimate()
    for trial in read_trials(whole).values():
        estimate.learn(trial.model_copy(update={"seconds": 10.0 if trial.method == "tinytrain" else 1.0}))
    none, _, ours = (Unit(Purpose.TEST, "A", "mcunet-5fps", arm, 0.001, 9) for arm in settings.arms())
    estimate.plan([none, ours, ours])
    assert estimate.left_s() is None
    estimate.started_s, estimate.measured_s = time.monotonic() - 4.0, 2.0
    assert estimate.left_s() == pytest.approx(2 * (1 + 10 + 10), rel=0.01)
