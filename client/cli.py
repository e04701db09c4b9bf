"""`tinytrain-client`: a device, by hand or in a fleet."""

import logging

import typer

from tinytrain_core.console import HELP_NAMES, lazy_commands, run_cli

_COMMANDS = {
    "init": "client.device_cli:init",
    "plan": "client.device_cli:plan",
    "personalise": "client.device_cli:personalise",
    "status": "client.device_cli:status",
    "key": "client.enrolment.cli:key_command",
    "enrol": "client.enrolment.cli:enrol_command",
    "run": "client.supervision.cli:run_command",
    "agent": "client.supervision.cli:agent_command",
}
app = typer.Typer(
    cls=lazy_commands(_COMMANDS),
    no_args_is_help=True,
    context_settings=HELP_NAMES,
    pretty_exceptions_enable=False,
)


@app.callback()
def _program() -> None:
    """Personalise a backbone on private images. Nothing but numbers ever leaves this machine.

    By hand and without a server: start with `init`, look with `plan`, then `personalise`.

    In a fleet: `enrol` with the operator's bundle, then `run`; `agent` shows what it does.
    """


class _Brief(logging.Formatter):
    """An error as one line for a person at this machine, without its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        return record.getMessage() + (f": {error}" if error else "")


def main() -> None:
    """Run the program; an error is one line and an exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Brief())
    logging.basicConfig(handlers=[handler])
    run_cli(app, "tinytrain-client")
