"""Configuration files: YAML, read and checked at the edge, with errors that name the keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tinytrain_core.errors import ConfigurationError

Model = TypeVar("Model", bound=BaseModel)


def problems(error: ValidationError, whole: str = "the file", most: int = 20) -> str:
    """Each wrong key with what is wrong about it; `whole` is what to call that of no key."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or whole}: {e['msg']}" for e in error.errors()[:most])


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The settings in a YAML text; `where` is what to call it in an error.

    Raises:
        ConfigurationError: it is not YAML, or not a mapping.
    """
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: that of a wrong date
        raise ConfigurationError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{where} holds {type(raw).__name__}; expected one setting a line, as `key: value`")
    return raw


def read_yaml_file(file: Path, hint: str = "") -> dict[str, Any]:
    """The raw settings in a file.

    Args:
        hint: what to do where there is no such file.

    Raises:
        ConfigurationError: there is no such file, or it is not YAML in UTF-8, one setting a line.
    """
    if not file.is_file():
        raise ConfigurationError(
            f"there is no configuration file at {file}, so it cannot be read" + (f"; {hint}" if hint else "")
        )
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read as YAML: {error}") from None
    return parse_yaml(text, str(file))


def parse_settings(model: type[Model], fields: Mapping[str, Any], where: str) -> Model:
    """The settings that `fields` are; `where` says in an error what they should have been.

    Raises:
        ConfigurationError: an unknown or missing key, a wrong type, or a value out of range.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {problems(error)}") from None
