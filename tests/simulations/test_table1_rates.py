"""Learning rates in the tables: where the grid ended, on how many tasks, and on what part of which set."""

import pytest

from simulations.studies.accuracy_sections import sections
from simulations.studies.data_sets import OTHER_CLASSES, OTHER_PART, overlap, relation
from simulations.studies.findings import as_json, find
from simulations.studies.rate_section import END_NOTE, TITLE
from simulations.studies.study_loading import load_study
from simulations.studies.table1 import Table1Settings
from tests.simulations.test_table1_settings import load, validated
from tinytrain_core.errors import ConfigurationError

RATES = [1e-3, 3e-3, 1e-2]


def swept(best: float, data: str = "glyphs:test"):
    """A study whose validation found one rate better than the others."""
    study: Table1Settings = load(rates=RATES, data=[f"A={data}"], validation_trials=2)
    found = [validated("B", "tinytrain", rate, 0.9 if rate == best else 0.5) for rate in RATES]
    found += [t.model_copy(update={"trial": 1}) for t in found[:2]]
    return find(study, {t.key: t for t in found})


def rate_table(found):
    (table,) = [section for section in sections(found, draws=False) if section.title == TITLE]
    return table


@pytest.mark.parametrize(("best", "text"), [(3e-3, "90.0*"), (1e-3, "90.0*†"), (1e-2, "90.0*†")])
def test_a_choice_at_an_end_of_the_grid_is_marked(best, text):
    table = rate_table(swept(best))
    assert text in table.rows[0]
    assert (END_NOTE in table.notes) == text.endswith("†")
    assert '"at_end": true' in as_json(swept(1e-2), {})


def test_the_table_says_on_how_many_tasks_a_mean_is():
    table = rate_table(swept(3e-3))
    assert table.columns[2] == "tasks"
    assert table.rows[0][2] == "1–2"


def test_another_part_of_the_tested_set_is_allowed_and_said():
    assert f"For A, the validation set B has {OTHER_CLASSES}." in rate_table(swept(3e-3)).notes
    assert relation("torchvision:DTD:test", "torchvision:DTD:train") == OTHER_PART
    assert relation("glyphs:test", "torchvision:DTD") == ""


def test_the_same_data_are_known_by_any_name(tmp_path, monkeypatch):
    file = tmp_path / "set.zip"
    file.touch()
    (tmp_path / "link.zip").symlink_to(file)
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in (str(file), "set.zip", "./set.zip", "$HERE/set.zip", "link.zip"):
        assert overlap(f"{name}:test", f"{file}:test")
        assert overlap(name, f"{file}:test")
        assert overlap(f"{file}:test", name)
        assert not overlap(f"{name}:train", f"{file}:test")
    assert overlap("glyphs", "glyphs:test")
    assert overlap("torchvision:Omniglot", "torchvision:Omniglot:background")
    assert not overlap("torchvision:Omniglot", "torchvision:Omniglot:evaluation")
    assert overlap("torchvision:FGVCAircraft:trainval", "torchvision:FGVCAircraft:val")
    assert not overlap("torchvision:FGVCAircraft:trainval", "torchvision:FGVCAircraft:test")
    assert not overlap("$NOWHERE/set.zip", f"{file}")
    with pytest.raises(ConfigurationError, match=r"B .*link\.zip.* is what A is tested on"):
        load(data=[f"A={file}:test"], validation=["B=link.zip"])
    assert load(data=[f"A={file}:test"], validation=["B=link.zip:train"]).validation_labels("A") == ("B",)
    assert load(data=[f"A={file}"], validation=["B=link.zip"], rates=[1e-3]).validates is False


@pytest.mark.parametrize("name", ["data", "validation", "backbones"])
@pytest.mark.parametrize("given", [3, [1, 2], 0.5])
def test_data_that_are_no_names_are_refused(name, given):
    with pytest.raises(ConfigurationError, match=f"{name}: .* is not a name"):
        load(**{name: given})


def test_a_single_text_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYTRAIN_METHODS", "")
    methods, file = tmp_path / "m1.py", tmp_path / "study.yaml"
    methods.write_text("")
    file.write_text(f"data: Omniglot\nvalidation: GTSRB\nmethods: tinytrain\nrates: 0.003\nmethods_files: {methods}\n")
    settings = load_study(Table1Settings, file, {"backbones": "mcunet-5fps"})
    assert list(settings.data) == ["Omniglot"]
    assert (settings.methods, settings.rates, settings.methods_files) == (("tinytrain",), (0.003,), (methods,))
