"""The methods, one file each; a new one is a file and a line here."""

from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods.base import Method, Problem
from tinytrain_core.selection.methods.full_train import FullTrain
from tinytrain_core.selection.methods.last_layer import LastLayer
from tinytrain_core.selection.methods.none import NoAdaptation
from tinytrain_core.selection.methods.tinytrain import TinyTrain

METHODS: dict[str, Method] = {m.name: m for m in (NoAdaptation(), LastLayer(), FullTrain(), TinyTrain())}


def method_by_name(name: str) -> Method:
    """The method called `name`.

    Raises:
        ConfigurationError: there is none.
    """
    if name not in METHODS:
        raise ConfigurationError(f"unknown method {name!r}; the known ones are {', '.join(METHODS)}")
    return METHODS[name]


__all__ = ["METHODS", "Method", "Problem", "method_by_name"]
