"""The settings of a study from its protocol, a YAML file and flags, the later stronger."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from simulations.studies.data_sets import DEFAULT_DATA, labelled_files, tested_data, validation_data
from simulations.studies.study_settings import StudySettings
from tinytrain_core.backbones.weights import shipped_names
from tinytrain_core.configuration import problems, read_yaml_file
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import load_methods

QUICK = "quick"
LISTS = ("methods", "methods_files", "reference", "questions", "rates")
PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"ways": 0, "trials": 200, "validation_trials": 10, "rates": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)},
    QUICK: {"ways": 5, "trials": 20, "validation_trials": 5, "rates": (3e-4, 1e-3, 3e-3, 1e-2)},
}

Settings = TypeVar("Settings", bound=StudySettings)


def build_study(kind: type[Settings], raw: Mapping[str, Any]) -> Settings:
    """The settings that `raw` describes on top of its protocol's.

    Raises:
        ConfigurationError: an unknown key, method or protocol, a wrong type or a value out of range; a file of
            methods that cannot be run.
    """
    protocol = raw.get("protocol", QUICK)
    if protocol not in PROTOCOLS:
        raise ConfigurationError(f"unknown protocol {protocol!r}; the known ones are {', '.join(PROTOCOLS)}")
    for file in raw.get("methods_files") or ():
        load_methods(Path(str(file)))
    try:
        return kind.model_validate({"protocol": protocol, **PROTOCOLS[protocol], **raw})
    except ValidationError as error:
        unknown = any(e["type"] == "extra_forbidden" for e in error.errors())
        hint = f"; the settings are {', '.join(kind.model_fields)}" if unknown else ""
        raise ConfigurationError(problems(error, "settings") + hint) from None


def _listed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, a single one of what there may be several of as a list."""
    return {
        name: [value] if name in LISTS and isinstance(value, (str, float, int)) else value
        for name, value in raw.items()
    }


def _texts(name: str, given: Any) -> list[str]:
    """What YAML may write as one text, or as a mapping, as `LABEL=NAME`."""
    if isinstance(given, dict):
        return [f"{label}={value}" for label, value in given.items()]
    texts = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{name}: {given!r} is not a name, a list of them or a mapping of labels to them")
    return list(texts)


def _by_label(raw: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Data and backbones by label, what is not given filled in."""

    def given(name: str, default: Iterable[str] = ()) -> list[str]:
        return _texts(name, raw.get(name)) or list(default)

    data = given("data", DEFAULT_DATA)
    return {
        "data": tested_data(data),
        "validation": validation_data(given("validation"), data),
        "backbones": labelled_files(given("backbones", shipped_names())),
        "plain": labelled_files(given("plain")),
    }


def load_study(kind: type[Settings], config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Settings from a YAML file and flags on top of the protocol's.

    Data and backbones may be lists of `LABEL=NAME` or names, or in YAML mappings.

    Raises:
        ConfigurationError: the file is not there or not YAML, or as `build_study`, `tested_data` and `labelled_files`;
            data or backbones are no names.
    """
    raw = _listed((read_yaml_file(config) if config else {}) | dict(flags))
    return build_study(kind, raw | _by_label(raw))
