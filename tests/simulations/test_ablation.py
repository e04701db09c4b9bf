"""The questions of the ablation: whether they can be asked, and what becomes of the answers."""

import json
from dataclasses import fields

import pytest

from simulations.reporting.sections import sections_text
from simulations.studies.ablation import AblationSettings
from simulations.studies.accuracy_sections import sections
from simulations.studies.findings import find
from simulations.studies.questions import QUESTIONS, SMALL_SCHEME, Question
from simulations.studies.study_loading import load_study
from tests.simulations.test_table1 import call
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import METHODS, method_by_name
from tinytrain_core.selection.methods.sparse_update import published_schemes

FLAGS = [
    *("--data", "A=glyphs:test", "--rates", "0.003", "--backbone", "mcunet-5fps", "--workers", "1"),
    *("--ways", "2", "--shots", "2", "--queries", "2", "--steps", "1", "--views", "1", "--trials", "2"),
]


def load(*questions: str, **flags) -> AblationSettings:
    common = {"data": ["A=glyphs"], "rates": [0.003], "backbones": ["mcunet-5fps"], "questions": questions}
    return load_study(AblationSettings, None, common | flags)


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_question_can_be_asked(question: Question):
    for arms in question.groups.values():
        assert len(arms) > 1
        for arm in arms.values():
            method_by_name(arm.method)


OPTIONS = {
    "window": "window_blocks",
    **{name: name for name in ("channels", "selection", "ratio", "prototypes", "score")},
}


@pytest.mark.parametrize(("name", "option"), OPTIONS.items())
def test_the_first_arm_is_the_method_as_it_is(name, option):
    defaults = {field.name: field.default for field in fields(METHODS["tinytrain"])}
    arms = next(iter(QUESTIONS[name].groups.values()))
    assert next(iter(arms)) == str(defaults[option])
    assert next(iter(arms.values())).method == "tinytrain"


def test_an_arm_of_two_questions_is_run_once():
    arms = load("window", "ratio", "views").arms()
    assert [arm.name for arm in arms].count("tinytrain") == 1
    assert not any(arm.views == 4 for arm in arms)  # which is what the study has anyway
    assert len({arm.name for arm in arms}) == len(arms) == 1 + 4 + 3 + 4


def test_the_compute_is_varied_around_the_studys():
    (comparison,) = load("compute").comparisons()
    assert comparison.reference == "0.15 of the MACs"
    assert [arm.compute_share for arm in comparison.arms.values()] == [None, 0.05, 0.1, 0.3, 1.0]
    assert next(iter(comparison.arms.values())).name == "tinytrain"
    assert "tinytrain" not in [arm.name for arm in load("compute", compute_share=0.2).arms()]


def test_the_small_scheme_is_published_for_every_architecture():
    arm = QUESTIONS["depth"].groups[""][SMALL_SCHEME]
    name = SMALL_SCHEME.partition("=")[2]
    assert arm.method == SMALL_SCHEME
    assert all(name in schemes for schemes in published_schemes().values())


def test_the_papers_ablation_stands_beside_the_questions_that_it_asked():
    told = sections_text(sections(find(load("channels", "meta", plain=["mcunet-5fps"]), {}), draws=False))
    assert "The paper on meta-training" in told
    assert "320.5 kB" in told
    assert "69.35" in told
    assert "The paper on" not in sections_text(sections(find(load("window"), {}), draws=False))


def test_channels_are_compared_at_several_sizes_of_the_memory():
    comparisons = load("channels").comparisons()
    assert [list(c.arms) for c in comparisons] == [["fisher", "l2", "random"]] * 4
    assert {c.family for c in comparisons} == {"channels"}
    assert len({arm.headroom_mib for c in comparisons for arm in c.arms.values()}) == 4


def test_meta_training_needs_plain_backbones():
    with pytest.raises(ConfigurationError, match="there is no plain backbone"):
        load("meta")
    assert "meta" not in load("all").asked
    settings = load("meta", plain=["mcunet-5fps"])
    assert [c.reference for c in settings.comparisons()] == ["plain", "plain"]
    assert [c.name for c in settings.comparisons()] == ["meta tinytrain", "meta full_train"]


def test_an_unknown_question_is_refused():
    with pytest.raises(ConfigurationError, match="unknown question 'luck'; the known ones are meta, channels"):
        load("luck")


def test_a_question_is_answered(tmp_path):
    result = call("ablation", "channels", "selection", *FLAGS, "--out", tmp_path, "--format", "json")
    assert result.exit_code == 0, result.exception
    told = json.loads(result.stdout)
    assert {cell["comparison"] for cell in told["cells"]} >= {"selection"}
    assert len(told["cells"]) == 4 * 3 + 2
    sizes = [cell["paper_memory_mib"] for cell in told["cells"] if cell["name"] == "fisher"]
    assert sizes == sorted(sizes)
    assert sizes[0] <= 0.625 + 1 / 16
    page = (tmp_path / "ablation.html").read_text()
    assert "Accuracy by memory" in page
    assert "Chosen for each task?" in (tmp_path / "ablation.txt").read_text()
