"""What methods are held against: one after the other, by default or as it is asked for, in the report too."""

import csv
import json

import pytest

from simulations.studies.cell import AVERAGE
from simulations.studies.study_folder import StudyRecord
from simulations.studies.trials import COLUMNS, TRIALS_FILE
from tests.simulations.test_table1 import call
from tests.simulations.test_table1_cells import as_text, findings, lines, page, settings
from tinytrain_core.errors import ConfigurationError


def write(folder, **flags) -> None:
    """A folder with a study that has ended."""
    (folder / TRIALS_FILE).write_text("\n".join([",".join(COLUMNS), *lines()]) + "\n")
    asked = settings(**flags).model_dump(mode="json")
    record = StudyRecord(study="table1", command="tinytrain-sim table1", settings=asked, inputs={}, versions={})
    (folder / "study.json").write_text(json.dumps(record.model_dump(mode="json")))


def test_by_default_it_is_what_the_paper_holds_tinytrain_against():
    assert settings().references == ("full_train",)
    assert settings(methods=["none", "tinytrain", "sparse_update", "full_train"]).references == (
        "full_train",
        "sparse_update",
    )
    assert settings(reference="tinytrain").references == ("tinytrain",)


def test_without_full_train_it_is_the_first_that_adapts_and_that_is_said(tmp_path):
    found = findings(tmp_path, methods=["none", "tinytrain"])
    assert found.settings.references == ("tinytrain",)
    assert "full_train is not among the methods: the reference is tinytrain." in as_text(found)
    assert settings(methods=["none"]).references == ("none",)


def test_a_reference_that_is_no_method_of_the_table_is_refused():
    with pytest.raises(ConfigurationError, match="sparse_update is not among the methods, which are none, full_train"):
        settings(reference=["sparse_update"])


def test_every_reference_has_its_differences(tmp_path):
    found = findings(tmp_path, reference=["full_train", "none"])
    (first,) = [c for c in found.cells if (c.data, c.name) == (AVERAGE, "tinytrain")]
    (other,) = [c for c in found.against if (c.data, c.name) == (AVERAGE, "tinytrain")]
    assert (first.reference, first.difference) == ("full_train", pytest.approx(0.2))
    assert (other.reference, other.difference) == ("none", pytest.approx(0.25))
    assert other.difference_p is not None
    assert "against none" in as_text(found)
    assert "against none, points" in page(found)


def test_the_report_takes_another_reference(tmp_path):
    write(tmp_path)
    told = json.loads(call("table1", "--report", "--format", "json", "--out", tmp_path).stdout)
    assert {c["reference"] for c in told["comparisons"]} == {"full_train"}
    flags = ("--reference", "tinytrain", "--reference", "none")
    told = json.loads(call("table1", "--report", *flags, "--format", "json", "--out", tmp_path).stdout)
    assert {c["reference"] for c in told["comparisons"]} == {"tinytrain"}
    assert {c["reference"] for c in told["against"]} == {"none"}
    with (tmp_path / "table1-against.csv").open() as file:
        assert {row["reference"] for row in csv.DictReader(file)} == {"none"}
    refused = call("table1", "--report", "--reference", "tinytl", "--out", tmp_path)
    assert "tinytl is not among the methods" in str(refused.exception)
