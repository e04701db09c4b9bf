"""Going on with a study: what failed for want of data is run again, and other code is told."""

import json

from simulations.studies import study_folder
from simulations.studies.runner import Runner
from simulations.studies.sources import sources_digest
from simulations.studies.study_folder import read_study
from simulations.studies.study_progress import StudyProgress
from simulations.studies.study_run import run_study
from simulations.studies.trials import TRIALS_FILE, read_trials
from tests.simulations.test_table1 import call, kept, load, run
from tinytrain_core.errors import TooFewImagesError

SMALL = {"methods": ["none", "last_layer"], "rates": [0.003], "trials": 1}


def lines_of(out) -> list[str]:
    return (out / TRIALS_FILE).read_text().splitlines()


def test_what_failed_for_want_of_data_is_run_again(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise TooFewImagesError("none is left")

    with monkeypatch.context() as broken:
        broken.setattr("simulations.studies.runner.load_episode", refuse)
        assert {t.outcome for t in run(tmp_path, load(**SMALL)).values()} == {"failed"}
        run(tmp_path, load(**SMALL))
        assert len(lines_of(tmp_path)) == 1 + 2  # the same failure is not written twice
    mended = run(tmp_path, load(**SMALL))
    assert "failed" not in {trial.outcome for trial in mended.values()}
    assert len(lines_of(tmp_path)) == 1 + 4
    assert len(read_trials(tmp_path)) == 2


def test_a_training_that_diverged_is_kept(tmp_path, monkeypatch):
    run(tmp_path, load(**SMALL))
    diverged = [
        line.replace(",adapted,,", ",failed,training_diverged,").replace(",kept_base,,", ",failed,training_diverged,")
        for line in lines_of(tmp_path)
    ]
    (tmp_path / TRIALS_FILE).write_text("\n".join(diverged) + "\n")
    monkeypatch.setattr(Runner, "run", None)
    assert "failed" in {trial.outcome for trial in run(tmp_path, load(**SMALL)).values()}


def test_other_code_is_told_and_goes_on(tmp_path, monkeypatch):
    told: list[str] = []

    def go_on() -> None:
        run_study(load(**SMALL), tmp_path, "tinytrain-sim table1", 1, StudyProgress(lambda *_: None, told.append))

    go_on()
    go_on()
    assert told == []
    assert read_study(tmp_path).sources == sources_digest()
    before = kept(tmp_path)
    monkeypatch.setattr(study_folder, "sources_digest", lambda: "f" * 64)
    go_on()
    assert len(told) == 1
    assert sources_digest()[:16] in told[0]
    assert read_study(tmp_path).earlier_sources == (sources_digest(),)
    assert kept(tmp_path) == before
    assert call("table1", "--report", "--out", tmp_path).exit_code == 0
    assert "other code that trials were made with" in (tmp_path / "table1.html").read_text()


def test_a_study_that_says_nothing_of_its_code_can_be_read(tmp_path):
    run(tmp_path, load(**SMALL))
    file = tmp_path / "study.json"
    record = json.loads(file.read_text())
    del record["sources"], record["earlier_sources"]
    file.write_text(json.dumps(record))
    assert read_study(tmp_path).sources == "unknown"
    run(tmp_path, load(**SMALL))
    assert read_study(tmp_path).earlier_sources == ("unknown",)
