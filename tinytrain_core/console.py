"""What the command lines have in common: how a result is printed, and how an error ends a program."""

from collections.abc import Callable
from enum import StrEnum

from rich.console import Console

from tinytrain_core.errors import TinyTrainError


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


def run_cli(app: Callable[[], object], program: str) -> None:
    """Run a command line; an error is one line that begins with the program's name, and the error's exit code.

    Raises:
        SystemExit: always where `app` ends its own process, and after an error.
    """
    try:
        app()
    except TinyTrainError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"{program}: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(error.exit_code) from None
