"""What happens in a worker, wherever it is: a function is called for one job after the other."""

import logging
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from simulations.executors.executor import Function

log = logging.getLogger(__name__)


class Call(NamedTuple):
    """A job as it travels to a worker."""

    number: int
    argument: Any
    shared: tuple[str, ...]


class Answer(NamedTuple):
    """What a worker says of a job: what the function returned, or the class of the exception that it raised."""

    number: int
    value: Any
    error: str


def load(path: str) -> Any:
    """What `module:name` means.

    Raises:
        ImportError, AttributeError: there is no such module, or nothing of that name in it.
        ValueError: the path has no colon.
    """
    module, colon, name = path.partition(":")
    if not colon:
        raise ValueError(f"{path!r} is not of the form module:name")
    return getattr(import_module(module), name)


class Calls:
    """The function of one worker process, loaded once.

    Args:
        function: `module:name`.
    """

    def __init__(self, function: str) -> None:
        self._function: Function = load(function)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)

    def answer(self, call: Call, published: Mapping[str, memoryview]) -> Answer:
        """Make a call; the text of an exception goes to this process's log and nowhere else."""
        try:
            return Answer(call.number, self._function(call.argument, {key: published[key] for key in call.shared}), "")
        except Exception as error:
            log.exception("job %d failed", call.number)
            return Answer(call.number, None, type(error).__name__)

    def answers(self, calls: Iterable[Call], published: Mapping[str, memoryview]) -> tuple[list[Answer], float]:
        """All answers, and the seconds that they took."""
        began_s = time.perf_counter()
        found = [self.answer(call, published) for call in calls]
        return found, time.perf_counter() - began_s
