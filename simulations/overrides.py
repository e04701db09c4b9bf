"""`key=value` overrides of a fleet's settings, where a key may name a value within a section, as `share.alpha`."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tinytrain_core.configuration import problems
from tinytrain_core.errors import ConfigurationError


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs, each value read as YAML; keys stay as they are, dots included.

    Raises:
        ConfigurationError: a pair without `=`, or a value that is not YAML.
    """
    parsed = {}
    for pair in overrides:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"override {pair!r} is not of the form key=value, as `steps=20`")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: that of a wrong date
            raise ConfigurationError(f"override {pair[:80]!r}: the value is not YAML") from error
    return parsed


def _within(kind: Any, key: str | int) -> Any:
    """The type of what `key` names in a section or a mapping of type `kind`; None if that has no such key."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields[key].annotation if key in kind.model_fields else None
    return get_args(kind)[1] if get_origin(kind) is dict else None


def _keys(kind: Any) -> list[str]:
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def is_section(model: type[BaseModel], name: str) -> bool:
    """Whether a setting of `model` has settings in it."""
    kind = _within(model, name)
    return bool(_keys(kind)) or get_origin(kind) is dict


def _check_path(model: type[BaseModel], path: str) -> None:
    """Make sure that `path` names something in `model`, or say how far it is right."""
    kind: Any = model
    parts = path.split(".")
    for depth, part in enumerate(parts):
        known, so_far = _keys(kind), ".".join(parts[:depth])
        inner = _within(kind, part)
        if inner is None:
            sections = [name for name in _keys(model) if is_section(model, name)]
            where = f"the keys of {so_far}" if so_far else "the keys"
            lone = f"{so_far} is one value; sections are {', '.join(sections)}"
            said = f"{where} are {', '.join(known)}" if known else lone
            raise ConfigurationError(f"there is no setting {path!r}: {said}")
        kind = inner


def _section_in(settings: dict[str, Any], section: str, path: str) -> dict[str, Any]:
    """A section of `settings` as a copy of its own, which takes its place; empty where there is none yet."""
    held = settings.get(section)
    if not isinstance(held, Mapping | None):
        raise ConfigurationError(f"{section} is {held!r} and no section, so {path} cannot be set in it")
    settings[section] = dict(held or {})
    inner: dict[str, Any] = settings[section]
    return inner


def overlaid(model: type[BaseModel], raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` with the overrides on it, in their order; a key with dots changes one value and leaves its section.

    Raises:
        ConfigurationError: a key with dots names nothing, or what should be a section is one value.
    """
    settings = dict(raw)
    for path, value in overrides.items():
        *sections, key = path.split(".")
        if sections:
            _check_path(model, path)
        inner = settings
        for section in sections:
            inner = _section_in(inner, section, path)
        inner[key] = value
    return settings


def explained(model: type[BaseModel], error: ValidationError) -> str:
    """What is wrong with settings, and the keys that there are where one is unknown."""
    hints = []
    for detail in error.errors():
        if detail["type"] != "extra_forbidden":
            continue
        *sections, _ = detail["loc"]
        kind: Any = model
        for section in sections:
            kind = _within(kind, section)
        where = f" of {'.'.join(map(str, sections))}" if sections else ""
        hints.append(f"; the keys{where} are {', '.join(_keys(kind))}")
    return problems(error, "settings") + "".join(dict.fromkeys(hints))
