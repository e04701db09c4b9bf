"""`tinytrain-server`: make the backbone that a fleet personalises, and operate the fleet."""

import typer

from tinytrain_core.console import HELP_NAMES, lazy_commands, run_cli

_COMMANDS = {
    "init": "server.fleet.init:init_command",
    "pki": "server.pki.cli:app",
    "release": "server.releases.cli:app",
    "node": "server.nodes.cli:app",
    "up": "server.running.cli:up_command",
    "status": "server.running.cli:status_command",
    "nginx-conf": "server.running.cli:nginx_command",
    "rollout": "server.fleet.rollout.cli:app",
    "fleet": "server.fleet.reports.cli:app",
    "meta-train": "server.backbones.meta_train_cli:meta_train_command",
    "backbone": "server.backbones.cli:app",
}
app = typer.Typer(
    cls=lazy_commands(_COMMANDS),
    no_args_is_help=True,
    context_settings=HELP_NAMES,
    pretty_exceptions_enable=False,
)


@app.callback()
def _program() -> None:
    """Make the backbone that a fleet personalises, and operate the fleet.

    A fleet: init, pki init, release create and sign, node add, up, rollout start, fleet report. docs/operations.md
    goes through them.

    A backbone: meta-train, backbone. Plain rounds without a fleet's folder are run by Flower:
    flwr run . -c "backbone='b.safetensors' min-nodes=3".
    """


def main() -> None:
    """Run the program; an error is one line and an exit code."""
    run_cli(app, "tinytrain-server")
