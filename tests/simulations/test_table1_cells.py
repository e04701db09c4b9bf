"""The figures of a table, checked by hand, and the page that is made of them."""

import csv
import io
import json
import re

import pytest

from simulations.reporting.sections import sections_text
from simulations.studies.accuracy_report import render
from simulations.studies.accuracy_sections import sections
from simulations.studies.findings import as_csv, as_json, find
from simulations.studies.study_folder import StudyRecord
from simulations.studies.study_loading import load_study
from simulations.studies.table1 import Table1Settings
from simulations.studies.text import p_text, points
from simulations.studies.trials import COLUMNS, TRIALS_FILE, read_trials
from tests.simulations.test_report_page import Balance

T2 = 4.302652729911275  # Student's t, two degrees of freedom, 97.5 %
T4 = 2.7764451051977987  # and of four
BEFORE = {"Omniglot": (0.4, 0.5, 0.6), "GTSRB": (0.6, 0.6, 0.6)}
AFTER = {
    ("Omniglot", "none"): BEFORE["Omniglot"],
    ("Omniglot", "full_train"): (0.5, 0.5, 0.5),
    ("Omniglot", "tinytrain"): (0.5, 0.7, 0.9),
    ("GTSRB", "none"): BEFORE["GTSRB"],
    ("GTSRB", "full_train"): (0.6, 0.7, 0.8),
    ("GTSRB", "tinytrain"): (0.8, 0.9, 1.0),
}


def line(data: str, method: str, number: int, after: float | str, **fields: object) -> str:
    common = {
        "purpose": "test",
        "data": data,
        "backbone": "net",
        "training": "meta",
        "arm": method,
        "method": method,
        "learning_rate": 0.0 if method == "none" else 0.003,
        "trial": number,
        "seed": 1,
        "ways": 5,
        "support_images": 25,
        "query_images": 50,
        "accuracy_before": BEFORE[data][number] if number < 3 else "",
        "accuracy_after": after,
        "outcome": "adapted",
        "error": "",
        "updated_weights": 100 * (number + 1),
        "paper_memory_bytes": 2**20,
        "live_memory_bytes": 1,
        "measured_memory_bytes": 1,
        "backward_macs": 2_000_000,
        "total_macs": 3_000_000,
        "steps": 40,
        "layers": "1:2",
        "seconds": number,
    }
    return ",".join(str((common | fields)[name]) for name in COLUMNS)


def lines() -> list[str]:
    return [line(d, m, n, after) for (d, m), values in AFTER.items() for n, after in enumerate(values)]


def settings(**flags) -> Table1Settings:
    common = {"methods": ["none", "full_train", "tinytrain"], "backbones": ["net=mcunet-5fps"], "rates": [0.003]}
    return load_study(Table1Settings, None, common | flags)


def findings(folder, content=None, **flags):
    (folder / TRIALS_FILE).write_text("\n".join([",".join(COLUMNS), *(content or lines())]) + "\n")
    return find(settings(**flags), read_trials(folder))


def as_text(found) -> str:
    return sections_text(sections(found, draws=False))


def cell(found, data, name, comparison="like-for-like"):
    (only,) = [c for c in found.cells if (c.comparison, c.data, c.name) == (comparison, data, name)]
    return only


def test_a_cell_is_what_its_tasks_amount_to(tmp_path):
    found = cell(findings(tmp_path), "Omniglot", "tinytrain")
    assert found.tasks == 3
    assert found.accuracy == pytest.approx(0.7)
    assert found.accuracy_interval == pytest.approx(T2 * 0.2 / 3**0.5)
    assert (found.gain, found.gain_interval) == pytest.approx((0.2, T2 * 0.1 / 3**0.5))
    assert (found.difference, found.difference_interval) == pytest.approx((0.2, T2 * 0.2 / 3**0.5))
    assert found.difference_p == pytest.approx(0.2254033)
    assert (found.worst_decile, found.worse_share, found.learning_rate) == (0.5, 0.0, 0.003)
    assert (found.updated_weights, found.paper_memory_mib, found.backward_mmacs, found.seconds) == (200, 1, 2, 1)


def test_worse_than_the_frozen_backbone_is_counted(tmp_path):
    found = cell(findings(tmp_path), "Omniglot", "full_train")
    assert found.worse_share == pytest.approx(1 / 3)
    assert found.difference is None  # it is the reference


def test_the_average_weighs_data_sets_the_same(tmp_path):
    found = findings(tmp_path)
    one, other, both = (cell(found, data, "tinytrain") for data in ("Omniglot", "GTSRB", "average"))
    assert both.accuracy == pytest.approx((0.7 + 0.9) / 2)
    assert both.difference == pytest.approx((0.2 + 0.2) / 2)
    assert (both.tasks, both.learning_rate, both.same_layers) == (6, None, None)
    assert (one.gain_interval, other.gain_interval) == pytest.approx((T2 * 0.1 / 3**0.5,) * 2)
    assert both.gain_interval == pytest.approx(T4 * 0.1 / 3**0.5 / 2**0.5)  # two sets of the same spread


def test_only_tasks_that_every_method_has_ended_are_counted(tmp_path):
    found = findings(
        tmp_path, [each for each in lines() if "Omniglot,net,meta,tinytrain,tinytrain,0.003,1" not in each]
    )
    assert {cell(found, "Omniglot", method).tasks for method in ("none", "full_train", "tinytrain")} == {2}
    assert cell(found, "Omniglot", "none").accuracy == pytest.approx(0.5)
    assert cell(found, "GTSRB", "none").tasks == 3


def test_what_failed_is_told(tmp_path):
    content = [each for each in lines() if not each.startswith("test,Omniglot,net,meta,tinytrain,tinytrain,0.003,2")]
    content.append(line("Omniglot", "tinytrain", 2, 0.6, outcome="failed", error="training_diverged"))
    methods = ("none", "full_train", "tinytrain")
    content += [line("Omniglot", m, 3, "", outcome="failed", error="too_few_images") for m in methods]
    found = cell(findings(tmp_path, content), "Omniglot", "tinytrain")
    assert (found.tasks, found.diverged, found.without_task) == (3, 1, 1)
    assert found.accuracy == pytest.approx((0.5 + 0.7 + 0.6) / 3)
    assert "1 diverged, 1 without a task" in as_text(findings(tmp_path, content))


def test_the_papers_comparison_is_across_trainings(tmp_path):
    plain = [each.replace(",meta,", ",plain,").replace(",0.5,adapted", ",0.3,adapted") for each in lines()]
    found = findings(tmp_path, lines() + plain, plain=["net=mcunet-5fps"])
    baseline, ours = (cell(found, "Omniglot", name, "paper") for name in ("full_train", "tinytrain"))
    assert (baseline.training, ours.training) == ("plain", "meta")
    assert (baseline.accuracy, ours.accuracy) == pytest.approx((0.3, 0.7))
    assert ours.difference == pytest.approx(0.4)
    assert "tinytrain, plain" not in as_text(found)


def test_csv_and_json_hold_every_cell(tmp_path):
    found = findings(tmp_path)
    rows = list(csv.DictReader(io.StringIO(as_csv(found.cells))))
    assert len(rows) == len(found.cells) == 9
    assert float(rows[2]["accuracy"]) == pytest.approx(0.7)
    told = json.loads(as_json(found, {"report": "x"}))
    assert told["cells"][2]["difference"] == pytest.approx(0.2)
    assert told["report"] == "x"


def page(found) -> str:
    asked = found.settings.model_dump(mode="json")
    record = StudyRecord(study="table1", command="tinytrain-sim table1 '<b>'", settings=asked, inputs={}, versions={})
    return render(found, record)


def test_the_page_is_whole_and_fetches_nothing(tmp_path):
    text = page(findings(tmp_path))
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert "http" not in text
    assert "<b>" not in text
    assert not re.search(r"url\((?!#)", text)
    assert not re.findall(r"#[0-9a-f]{6}\b", text.partition("</style>")[2])
    for method in ("none", "full_train", "tinytrain"):
        assert f">{method}</td>" in text
        assert re.search(rf"<text[^>]*>{method}</text>", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_page_can_be_made_of_nothing():
    assert "No task has been ended" in page(find(settings(), {}))
    assert "No task has been ended" in as_text(find(settings(), {}))


def test_numbers_for_people():
    assert points(-0.0123, 0.004, "+") == "−1.2 ± 0.4"
    assert (points(None), points(0.5), p_text(0.0004), p_text(0.25)) == ("–", "50.0", "< 0.001", "0.250")
