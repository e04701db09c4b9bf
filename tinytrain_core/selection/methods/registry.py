"""Methods by name and options, `tinytrain:window_blocks=4,channels=l2`, and those from outside the package.

A method of your own is a subclass of `Method` in a Python file that calls `register`. The files that
`$TINYTRAIN_METHODS` lists are run once, when a method is first asked for, in every process that inherits the variable;
installed packages name theirs as entry points of the group `tinytrain.methods`.
"""

import logging
import os
import re
import runpy
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods.base import Method
from tinytrain_core.selection.methods.full_train import FullTrain
from tinytrain_core.selection.methods.last_layer import LastLayer
from tinytrain_core.selection.methods.none import NoAdaptation
from tinytrain_core.selection.methods.sparse_update import SparseUpdate
from tinytrain_core.selection.methods.tinytl import AdapterDrop, TinyTL
from tinytrain_core.selection.methods.tinytrain import TinyTrain
from tinytrain_core.selection.methods.tinytrain_deep import TinyTrainDeep
from tinytrain_core.selection.methods.transductive import Transductive

FILES_VARIABLE = "TINYTRAIN_METHODS"
ENTRY_POINTS = "tinytrain.methods"
OUTSIDE_NUMBERS = range(50, 100)
OPTION_TYPES = (bool, int, float, str)
BOOLEANS = {"true": True, "false": False}
NAME = re.compile(r"^[a-z0-9_]{1,32}$")
BUILT_IN: tuple[type[Method], ...] = (
    NoAdaptation,
    LastLayer,
    FullTrain,
    TinyTL,
    AdapterDrop,
    Transductive,
    SparseUpdate,
    TinyTrain,
    TinyTrainDeep,
)
log = logging.getLogger(__name__)
METHODS: dict[str, type[Method]] = {kind.name: kind for kind in BUILT_IN}


def register(kind: type[Method]) -> type[Method]:
    """Make a method from outside the package known in this process; usable as a class decorator.

    Raises:
        ConfigurationError: its name or its number is not a valid one, or is another method's; its options are not the
            fields of a dataclass, each with a default of one of `OPTION_TYPES`.
    """
    name, number = kind.name, kind.number
    if not NAME.match(name) or number not in OUTSIDE_NUMBERS:
        raise ConfigurationError(f"a method needs a name of [a-z0-9_] and a number of 50 to 99, not {name!r}, {number}")
    for other in METHODS.values():
        if (name == other.name or number == other.number) and not _same(kind, other):
            raise ConfigurationError(f"the name {name!r} or the number {number} is that of {other.name}")
    _check_options(kind)
    METHODS[name] = kind
    return kind


def _same(kind: type[Method], other: type[Method]) -> bool:
    """Whether a class is another one whose file was run again."""
    theirs, ours = (vars(k).get("plan") for k in (other, kind))
    files = [getattr(getattr(plan, "__code__", None), "co_filename", None) for plan in (theirs, ours)]
    return kind.name == other.name and kind.__qualname__ == other.__qualname__ and None is not files[0] == files[1]


def _check_options(kind: type[Method]) -> None:
    if not is_dataclass(kind):
        raise ConfigurationError(f"the method {kind.name} is not a dataclass: decorate it with @dataclass(frozen=True)")
    for field in fields(kind):
        if not isinstance(field.default, OPTION_TYPES):
            known = ", ".join(allowed.__name__ for allowed in OPTION_TYPES)
            raise ConfigurationError(f"{kind.name}: the option {field.name} needs a default of {known}")


def load_methods(file: Path) -> None:
    """Run a file that registers methods, here and in every process that this one starts.

    Raises:
        ConfigurationError: there is no such file, or it cannot be run.
    """
    listed = [part for part in os.environ.get(FILES_VARIABLE, "").split(os.pathsep) if part]
    path = str(file.expanduser().resolve())
    _run(path)
    if path not in listed:
        os.environ[FILES_VARIABLE] = os.pathsep.join([*listed, path])


@cache
def _run(path: str) -> None:
    try:
        runpy.run_path(path)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever somebody else's file may raise
        raise ConfigurationError(f"the methods in {path} cannot be loaded: {type(error).__name__}: {error}") from error


@cache
def _load_outside() -> None:
    """Methods that the environment and installed packages name."""
    for path in filter(None, os.environ.get(FILES_VARIABLE, "").split(os.pathsep)):
        _run(path)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            register(point.load())
        except Exception as error:  # noqa: BLE001  one broken plugin must not take the other methods with it
            log.warning("the method %s cannot be loaded: %s: %s", point.value, type(error).__name__, error)


def _option(kind: type[Method], text: str) -> tuple[str, Any]:
    """One `key=value`, the value of the type of the field's default."""
    key, _, value = text.partition("=")
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    if key not in defaults or not value:
        known = ", ".join(f"{name}={default}" for name, default in defaults.items()) or "none"
        raise ConfigurationError(f"{kind.name} has no option {text!r}; its options and their defaults are {known}")
    wanted = type(defaults[key])
    try:
        return key, BOOLEANS[value.lower()] if wanted is bool else wanted(value)
    except (ValueError, KeyError):
        raise ConfigurationError(f"{kind.name}: {key} is {value!r}, not a {wanted.__name__}") from None


def _options(kind: type[Method], text: str) -> dict[str, Any]:
    """`key=value,key=value`."""
    pairs = [_option(kind, part) for part in text.split(",") if part]
    if len(dict(pairs)) < len(pairs):
        raise ConfigurationError(f"{kind.name}: an option is given twice in {text!r}")
    return dict(pairs)


def method_by_name(spec: str) -> Method:
    """The method that `name` or `name:option=value,option=value` asks for.

    Raises:
        ConfigurationError: there is no such method or option, or a value is not one of the option's.
    """
    _load_outside()
    name, _, options = spec.partition(":")
    if name not in METHODS:
        raise ConfigurationError(f"unknown method {name!r}; the known ones are {', '.join(METHODS)}")
    kind = METHODS[name]
    return kind(**_options(kind, options))


def checked_spec(spec: str) -> str:
    """`spec`, if there is such a method.

    Raises:
        ConfigurationError: there is not.
    """
    method_by_name(spec)
    return spec
