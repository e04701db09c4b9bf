"""Methods by name and options, `tinytrain:window_blocks=4,channels=l2`, and those from outside the package.

A method of your own is a subclass of `Method` in a Python file that calls `register`. The files that
`$TINYTRAIN_METHODS` lists are run once, when a method is first asked for, in every process that inherits the variable;
installed packages name theirs as entry points of the group `tinytrain.methods`.
"""

import os
import re
import runpy
from dataclasses import fields
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
METHODS: dict[str, type[Method]] = {kind.name: kind for kind in BUILT_IN}


def register(kind: type[Method]) -> type[Method]:
    """Make a method from outside the package known in this process; usable as a class decorator.

    Raises:
        ConfigurationError: its name or its number is not a valid one, or is another method's.
    """
    name, number = kind.name, kind.number
    if not NAME.match(name) or number not in OUTSIDE_NUMBERS:
        raise ConfigurationError(f"a method needs a name of [a-z0-9_] and a number of 50 to 99, not {name!r}, {number}")
    others = [other for other in METHODS.values() if name == other.name or number == other.number]
    if any(other.__qualname__ != kind.__qualname__ for other in others):
        raise ConfigurationError(f"the name {name!r} or the number {number} is that of {others[0].name}")
    METHODS[name] = kind
    return kind


def load_methods(file: Path) -> None:
    """Run a file that registers methods, here and in every process that this one starts.

    Raises:
        ConfigurationError: there is no such file, or it cannot be run.
    """
    listed = [part for part in os.environ.get(FILES_VARIABLE, "").split(os.pathsep) if part]
    path = str(file.expanduser().resolve())
    if path not in listed:
        os.environ[FILES_VARIABLE] = os.pathsep.join([*listed, path])
    _run(path)


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
        register(point.load())


def _option(kind: type[Method], text: str) -> tuple[str, Any]:
    """One `key=value`, the value of the type of the field's default."""
    key, _, value = text.partition("=")
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    if key not in defaults or not value:
        known = ", ".join(f"{name}={default}" for name, default in defaults.items()) or "none"
        raise ConfigurationError(f"{kind.name} has no option {text!r}; its options and their defaults are {known}")
    try:
        return key, type(defaults[key])(value)
    except ValueError:
        raise ConfigurationError(f"{kind.name}: {key} is {value!r}, not a {type(defaults[key]).__name__}") from None


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
    return kind(**dict(_option(kind, text) for text in options.split(",") if text))


def checked_spec(spec: str) -> str:
    """`spec`, if there is such a method.

    Raises:
        ConfigurationError: there is not.
    """
    method_by_name(spec)
    return spec
