"""Methods by name and options, and those from outside the package."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.core.test_methods import problem
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import METHODS, Method, load_methods, method_by_name, register
from tinytrain_core.selection.methods.registry import FILES_VARIABLE
from tinytrain_core.selection.methods.tinytrain import TinyTrain

OUTSIDE = '''
from dataclasses import dataclass
from typing import ClassVar

from tinytrain_core.selection.methods import Method, Problem, register
from tinytrain_core.selection.plan import UpdatePlan, prescribed


@register
@dataclass(frozen=True)
class Last(Method):
    """The last few convolutions."""

    count: int = 2
    name: ClassVar[str] = "last_few"
    number: ClassVar[int] = 51

    def plan(self, problem: Problem) -> UpdatePlan:
        spec = problem.backbone.spec
        return prescribed(spec, set(range(len(spec.convs) - self.count, len(spec.convs))))
'''


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("magic", "unknown method 'magic'"),
        ("tinytrain:window=3", "no option 'window=3'; its options and their defaults are window_blocks=6"),
        ("tinytrain:window_blocks=many", "window_blocks is 'many', not a int"),
        ("tinytrain:channels=best", "channels is 'best', not fisher or l2 or random"),
        ("tinytrain:ratio=2", "a ratio of 2"),
        ("none:x=1", "defaults are none"),
        ("adapter_drop:share=100", "leaves nothing"),
        ("sparse_update:weights=a", "not of the form"),
        ("sparse_update:weights=3x1+3x0.5", "names? a convolution twice"),
        ("sparse_update:scheme=99kb,biases=3", "not both"),
        ("sparse_update:biases=16", "does not fit the 15 convolutions"),
        ("tinytrain:ratio=0.5,ratio=1", "given twice"),
    ],
)
def test_what_is_not_a_method_says_so(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        method_by_name(spec).plan(problem())


def test_options_reach_the_method() -> None:
    found = method_by_name("tinytrain:window_blocks=2,ratio=0.25,channels=l2,selection=static,prototypes=detached")
    assert found == TinyTrain(2, 0.25, "l2", selection="static", prototypes="detached")


def test_a_method_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known here, and in a process that is started afterwards."""
    monkeypatch.setenv(FILES_VARIABLE, "")
    monkeypatch.setattr("tinytrain_core.selection.methods.registry.METHODS", METHODS)
    file = tmp_path / "mine.py"
    file.write_text(OUTSIDE)
    load_methods(file)
    try:
        assert sorted(method_by_name("last_few:count=3").plan(problem()).updates) == [13, 14, 15]
        code = "from tinytrain_core.selection.methods import method_by_name; print(method_by_name('last_few').number)"
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert asked.stdout.strip() == "51"
    finally:
        METHODS.pop("last_few", None)


@pytest.mark.parametrize(("name", "number"), [("Bad Name", 60), ("fine", 8), ("fine", 100), ("tinytrain", 60)])
def test_names_and_numbers_of_others_are_refused(name: str, number: int) -> None:
    kind = type("TinyTrain", (Method,), {"name": name, "number": number})
    with pytest.raises(ConfigurationError, match=r"method needs a name|is that of"):
        register(dataclass(frozen=True)(kind))


def test_options_without_a_simple_default_are_refused() -> None:
    kind = type("Other", (Method,), {"name": "other", "number": 60, "__annotations__": {"x": int}})
    with pytest.raises(ConfigurationError, match="not a dataclass"):
        register(kind)
    with pytest.raises(ConfigurationError, match="the option x needs a default of bool, int, float, str"):
        register(dataclass(frozen=True)(kind))


def test_switches_are_read_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    members = {"name": "switch", "number": 61, "__annotations__": {"on": bool}, "on": True}
    kind = dataclass(frozen=True)(type("Switch", (Method,), members))
    monkeypatch.setitem(METHODS, "switch", kind)
    assert [vars(method_by_name(f"switch:on={value}"))["on"] for value in ("true", "False")] == [True, False]
    with pytest.raises(ConfigurationError, match="on is '1', not a bool"):
        method_by_name("switch:on=1")


@pytest.mark.parametrize("text", ["", "1 / 0", "import nothing_like_this"])
def test_a_file_that_cannot_be_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(FILES_VARIABLE, "")
    file = tmp_path / f"broken{len(text)}.py"
    if text:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"broken.*\.py cannot be loaded"):
        load_methods(file)
