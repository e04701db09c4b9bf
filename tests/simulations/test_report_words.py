"""What a page says in words: what devices did, what left them, and how many there are."""

import json

import pytest

from simulations.finished_run import FLEET_FILE
from simulations.settings import load_settings
from tests.simulations.run_folders import write_run
from tests.simulations.test_report_page import page_of


def test_the_lead_says_what_the_devices_of_this_run_did(tmp_path):
    leads = {}
    for method in ("tinytrain", "none", "full_train"):
        write_run(tmp_path / "run", settings=load_settings(None, {"devices": 2, "method": method}))
        leads[method] = page_of(tmp_path / "run").partition('class="lead">')[2].partition("</p>")[0]
    assert ["which layers and" in lead for lead in leads.values()] == [True, False, False]
    assert "used it as it is" in leads["none"]
    assert "adapted it by full_train" in leads["full_train"]
    assert all("Nothing but numbers left a device." in lead for lead in leads.values())


@pytest.mark.parametrize(("method", "numbers_alone"), [("fedavg", False), ("local", True), ("tinytrain", True)])
def test_a_baseline_that_averages_weights_does_not_say_that_only_numbers_leave(tmp_path, method, numbers_alone):
    write_run(tmp_path / "run", settings=load_settings(None, {"devices": 2}))
    file = tmp_path / "run" / FLEET_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"federated": {"method": method, "rounds": 2}}))
    text = page_of(tmp_path / "run")
    assert ("Nothing but numbers left a device" in text) == numbers_alone
    assert ("Weights of devices went to the server" in text) != numbers_alone


def test_one_device_is_told_in_the_singular_and_nobody_is_said_to_have_answered_unasked(tmp_path):
    write_run(tmp_path / "run", settings=load_settings(None, {"devices": 1}))
    text = page_of(tmp_path / "run")
    assert "A fleet of 1 simulated device<" in text
    assert "of 1 class gave a result" in text
    assert "Every device gave a result in the last round." in text
