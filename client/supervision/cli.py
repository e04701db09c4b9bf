"""`tinytrain-client run` and `agent` as commands."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from client.supervision.start import agent_facts, run_device
from tinytrain_core.console import Format

AgentFile = Annotated[Path, typer.Argument(help="The agent's YAML file, as `enrol` writes it.")]


def run_command(
    config: AgentFile = Path("agent.yaml"),
    once: Annotated[bool, typer.Option(help="End when no order and no report is left.")] = False,
) -> None:
    """Be a device of a fleet: carry out the server's signed orders and report numbers.

    It stays in the foreground, as a service manager wants it; deploy/systemd/ has a unit. It starts its own node again
    whenever that ends or loses the server for good, and goes on personalising while the server is away.

    Example: tinytrain-client run node/agent.yaml
    """
    run_device(config, once)


def agent_command(
    config: AgentFile = Path("agent.yaml"),
    style: Annotated[Format, typer.Option("--format", help="A table for people or JSON for programs.")] = Format.TABLE,
) -> None:
    """Show what the agent holds and does: its release, its order, reports that wait, the last contact.

    Example: tinytrain-client agent node/agent.yaml
    """
    facts = agent_facts(config)
    if style is Format.JSON:
        Console().out(json.dumps(facts, indent=2, default=str), highlight=False)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, str(value))
    Console().print(table)
