"""The file of a study's trials: what is kept, what is redone, what is refused."""

import pytest

from simulations.studies.arms import Arm, Training
from simulations.studies.trials import COLUMNS, TRIALS_FILE, Purpose, Trial, open_trials, read_trials
from tinytrain_core.errors import ConfigurationError


def trial(number: int, **fields) -> Trial:
    common = {
        "purpose": Purpose.TEST,
        "data": "A",
        "backbone": "b",
        "training": Training.META,
        "arm": "tinytrain:window_blocks=4,channels=l2",
        "method": "tinytrain:window_blocks=4,channels=l2",
        "learning_rate": 3e-4,
        "accuracy_before": 0.1,
        "accuracy_after": 0.2 + number / 7,
        "outcome": "adapted",
        "seconds": 1 / 3,
    }
    return Trial(**(common | fields), trial=number)


def write(folder, *trials):
    with open_trials(folder) as file:
        for each in trials:
            file.append(each)


def test_trials_are_read_as_they_were_written(tmp_path):
    lost = trial(1, accuracy_before=None, accuracy_after=None, outcome="failed", error="too_few_images")
    write(tmp_path, trial(0), lost)
    write(tmp_path, trial(2))
    assert list(read_trials(tmp_path).values()) == [trial(0), lost, trial(2)]
    assert (tmp_path / TRIALS_FILE).read_text().splitlines()[0] == ",".join(COLUMNS)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_left_out_and_overwritten(tmp_path, cut):
    write(tmp_path, trial(0), trial(1))
    file = tmp_path / TRIALS_FILE
    file.write_bytes(file.read_bytes()[:-cut])
    assert list(read_trials(tmp_path).values()) == [trial(0)]
    write(tmp_path, trial(2))
    assert list(read_trials(tmp_path).values()) == [trial(0), trial(2)]


def test_a_torn_head_is_no_trial(tmp_path):
    (tmp_path / TRIALS_FILE).write_text("purpose,da")
    assert read_trials(tmp_path) == {}
    write(tmp_path, trial(0))
    assert list(read_trials(tmp_path).values()) == [trial(0)]


def test_a_damaged_line_and_foreign_columns_are_refused(tmp_path):
    write(tmp_path, trial(0), trial(1))
    file = tmp_path / TRIALS_FILE
    file.write_text(file.read_text().replace("test,A", "tested,A", 1))
    with pytest.raises(ConfigurationError, match="line 2 is damaged"):
        read_trials(tmp_path)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match="other columns"):
        read_trials(tmp_path)


def test_of_two_lines_of_a_trial_the_later_one_counts(tmp_path):
    lost = trial(0, accuracy_before=None, accuracy_after=None, outcome="failed", error="too_few_images")
    write(tmp_path, lost, trial(0))
    assert list(read_trials(tmp_path).values()) == [trial(0)]
    assert (lost.is_mendable, trial(0).is_mendable) == (True, False)
    assert not trial(0, outcome="failed", error="training_diverged").is_mendable


def test_layers_are_told_apart_without_their_channels():
    assert trial(0, layers="1:2 41:160").updated_layers == ("1", "41")
    assert trial(0).updated_layers == ()


def test_an_arm_is_named_by_what_is_its_own():
    arm = Arm(method="tinytrain", views=0, headroom_mib=0.0625)
    assert arm.name == "tinytrain views=0 headroom_mib=0.0625"
    assert arm.is_tinytrain
    assert not Arm(method="tinytl").is_tinytrain
    assert arm.on(Training.PLAIN) != arm
