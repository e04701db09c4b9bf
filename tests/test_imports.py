"""The one-way rule of imports, and where Flower may be known."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
ALLOWED = {
    "tinytrain_core": {"tinytrain_core"},
    "client": {"tinytrain_core", "client"},
    "server": {"tinytrain_core", "server"},
    "simulations": {"tinytrain_core", "client", "server", "simulations"},
}
FLOWER = {
    "client/app.py",
    "client/connection/calls.py",
    "client/connection/contents.py",
    "client/connection/fleet_messages.py",
    "client/connection/link.py",
    "server/app.py",
    "server/running/fleet_app.py",
    "server/nodes/superlink_control.py",
    "simulations/federated/arrays.py",
    "simulations/federated/client.py",
    "simulations/federated/participants.py",
    "simulations/federated/run.py",
    "simulations/federated/server.py",
    "simulations/federated/strategy.py",
    "simulations/federated/talk.py",
    "simulations/engine.py",
    "simulations/serving.py",
    "simulations/records.py",
    "simulations/grid.py",
    "simulations/flower_engine.py",
    "simulations/answers.py",
    "simulations/contents.py",
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_go_one_way(package: str) -> None:
    files = list((TOP / package).rglob("*.py"))
    assert files
    for file in files:
        ours = set(imported(file)) & set(ALLOWED)
        assert ours <= ALLOWED[package], file
        assert ("flwr" in imported(file)) == (file.relative_to(TOP).as_posix() in FLOWER), file


def test_every_error_has_an_entry_in_its_page() -> None:
    from tinytrain_core import errors

    page = (TOP / "docs" / "errors.md").read_text(encoding="utf-8")
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TinyTrainError)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        assert f"| {kind.exit_code} | `{kind.__name__}` |" in page
