"""What a study of accuracy is made of, and what is refused before anything runs."""

import pytest

from simulations.studies.rates import sweep
from simulations.studies.runner import draw_task, open_data
from simulations.studies.study_loading import load_study
from simulations.studies.study_run import validation_units
from simulations.studies.table1 import Table1Settings
from simulations.studies.trials import Key, Purpose, Trial
from tinytrain_core.errors import ConfigurationError

GLYPHS = {"data": ["A=glyphs:test"], "validation": ["B=glyphs:validation"], "methods": ["none", "tinytrain"]}


def load(**flags) -> Table1Settings:
    return load_study(Table1Settings, None, GLYPHS | {"backbones": ["mcunet-5fps"]} | flags)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"methods": ["magic"]}, "unknown method 'magic'"),
        ({"protocol": "slow"}, "unknown protocol 'slow'"),
        ({"colour": "red"}, "the settings are protocol"),
        ({"rates": [0.0]}, "rates"),
        (
            {"validation": ["A=glyphs:validation"]},
            "the learning rates of A are chosen on other validation sets than its own",
        ),
        ({"validation": ["B=glyphs:test"]}, "the validation set B .* is what A is tested on"),
        ({"validation": ["B=glyphs"]}, "call it A too"),
        ({"reference": "magic"}, "unknown method 'magic'"),
        ({"plain": ["other=mcunet-5fps"]}, "needs a meta-trained one of its label: other"),
        ({"data": ["CUB"]}, "CUB cannot be downloaded; give its folder or zip"),
        ({"data": ["A=glyphs", "A=glyphs:test"]}, "labels of their own"),
        ({"backbones": ["a=x", "a=y"]}, "labels of their own"),
        ({"data": ["=glyphs"]}, "not a label"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(flags, words):
    with pytest.raises(ConfigurationError, match=words):
        load(**flags)


def test_known_data_need_no_label_and_validate_each_other():
    settings = load(data=[], validation=[])
    assert settings.data == {"Omniglot": "torchvision:Omniglot:evaluation", "GTSRB": "torchvision:GTSRB:test"}
    assert settings.validation == {"Omniglot": "torchvision:Omniglot:background", "GTSRB": "torchvision:GTSRB:train"}


def test_a_single_rate_needs_no_validation():
    settings = load(validation=["A=glyphs"], rates=[3e-3])
    assert validation_units(settings) == []
    assert sweep(settings, {}, "A", "mcunet-5fps", settings.arms()[1]).chosen == 3e-3


def test_the_protocol_yields_to_yaml_and_that_to_flags(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("protocol: paper\ntrials: 7\nseed: 3\ndata: {A: glyphs}\nvalidation: [B=glyphs:validation]\n")
    settings = load_study(Table1Settings, file, {"seed": 4, "methods": ["none"]})
    assert (settings.ways, settings.trials, settings.seed, len(settings.rates)) == (0, 7, 4, 5)
    assert (settings.data, settings.validation) == ({"A": "glyphs"}, {"B": "glyphs:validation"})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_study(Table1Settings, tmp_path / "missing.yaml", {})


def test_methods_from_a_file_are_known(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYTRAIN_METHODS", "")
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from tinytrain_core.selection.methods import register\n"
        "from tinytrain_core.selection.methods.last_layer import LastLayer\n"
        "@register\n@dataclass(frozen=True)\nclass Mine(LastLayer):\n"
        "    name: ClassVar[str] = 'mine'\n    number: ClassVar[int] = 77\n"
    )
    assert load(methods=["mine"], methods_files=[str(file)]).methods == ("mine",)


def validated(label: str, method: str, rate: float, accuracy: float) -> Trial:
    key = Key(Purpose.VALIDATION, label, "mcunet-5fps", "meta", method, rate, 0)
    return Trial(**key._asdict(), method=method, accuracy_after=accuracy, accuracy_before=0.5, outcome="adapted")


def test_no_set_chooses_its_own_rate():
    data = ["A=glyphs:test", "B=glyphs:train"]
    settings = load(data=data, validation=data, rates=[1e-3, 1e-2])
    found = [validated("A", "tinytrain", rate, 0.9 if rate == 1e-2 else 0.5) for rate in settings.rates]
    found += [validated("B", "tinytrain", rate, 0.9 if rate == 1e-3 else 0.5) for rate in settings.rates]
    trials, arm = {trial.key: trial for trial in found}, settings.arms()[1]
    chosen = {data: sweep(settings, trials, data, "mcunet-5fps", arm) for data in settings.data}
    assert (chosen["A"].chosen, chosen["A"].sets) == (1e-3, ("B",))
    assert (chosen["B"].chosen, chosen["B"].sets) == (1e-2, ("A",))


def test_the_validation_set_of_the_only_tested_label_is_not_run():
    settings = load(validation=["A=glyphs:test", "B=glyphs:validation"])
    units = validation_units(settings)
    assert {unit.data for unit in units} == {"B"}
    assert {unit.arm.method for unit in units} == {"tinytrain"}
    assert len(units) == len(settings.rates) * settings.validation_trials


def test_sets_weigh_the_same_and_ties_go_to_the_smaller_rate():
    settings = load(validation=["B=glyphs:train", "C=glyphs:train"], rates=[1e-3, 3e-3, 1e-2])
    means = {"B": (0.5, 0.7, 0.7), "C": (0.7, 0.5, 0.4)}
    found = [
        validated(label, "tinytrain", rate, mean)
        for label, values in means.items()
        for rate, mean in zip(settings.rates, values, strict=True)
    ]
    result = sweep(settings, {t.key: t for t in found}, "A", "mcunet-5fps", settings.arms()[1])
    assert list(result.accuracies.values()) == pytest.approx([0.6, 0.6, 0.55])
    assert result.chosen == 1e-3


def test_a_task_follows_from_seed_purpose_label_and_number():
    settings, other = load(), load(seed=1)
    source = open_data(settings, Purpose.TEST, "A")

    def draw(which=settings, purpose=Purpose.TEST, label="A", number=0):
        return draw_task(which, source, purpose, label, number)

    assert draw() == draw()
    others = [draw(number=1), draw(label="B"), draw(purpose=Purpose.VALIDATION), draw(which=other)]
    assert all(task.draws != draw().draws and task.seed != draw().seed for task in others)
    assert [len(d.support) for d in draw().draws] == [5] * 5
    assert {len(d.query) for d in draw().draws} == {10}
    ways = {len(draw(which=load(protocol="paper"), number=number).draws) for number in range(4)}
    assert len(ways) > 1
