import tomllib
from pathlib import Path

import pytest

from server.config import RunSettings, settings_from_run_config
from tinytrain_core.errors import ConfigurationError

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_flowers_defaults_are_the_settings_defaults() -> None:
    config = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["config"]
    assert settings_from_run_config(config) == RunSettings()
    assert set(config) == {name.replace("_", "-") for name in RunSettings.model_fields}


def test_dashes_become_underscores() -> None:
    assert settings_from_run_config({"learning-rate": 0.5, "min-nodes": 3}) == RunSettings(
        learning_rate=0.5, min_nodes=3
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"learning-rat": 0.1}, "learning-rat"),
        ({"rounds": "many"}, "rounds"),
        ({"rounds": 0}, "rounds"),
        ({"deadline-s": 0}, "deadline-s"),
        ({"learning-rate": float("nan")}, "learning-rate"),
        ({"method": "Not A Method"}, "method"),
        ({"method": "magic"}, "unknown method 'magic'"),
        ({"optimiser": "Adam"}, "unknown optimiser 'Adam'"),
        ({"optimiser": 3}, "optimiser"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_wrong_key_is_named_as_it_was_written(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        settings_from_run_config(wrong)
