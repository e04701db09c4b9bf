"""`tinytrain-client run` and what it shows of itself."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.agent.agent import load_trust, state_file
from client.agent.config import AgentConfig, load_agent_config
from client.agent.standing import STANDING_FILE, Standing, read_standing
from client.agent.state import AgentState
from client.config import NodeConfig, load_node_config
from client.supervision.beats import CONTACT_FILE
from tinytrain_core.flower import FLOWER_QUIET

NODE_LOG = "node.log"


def node_command(config_file: Path, once: bool = False) -> list[str]:
    """The command that is the node."""
    command = [sys.executable, "-m", "client.connection.process", str(config_file.resolve())]
    return [*command, "--once"] if once else command


def run_device(config_file: Path, once: bool = False) -> None:
    """Become the supervisor of a device's node; with `once` the node itself, until there is nothing to do.

    This process is replaced, so that nothing of the program that was started stays in memory beside the node.

    Raises:
        ConfigurationError: a setting, the key's or the trust's file is wrong; nothing has been started then.
    """
    config = load_agent_config(config_file)
    node = load_node_config(config.node)
    load_trust(config.trust)
    command = node_command(config_file, once)
    if not once:
        log = ["--name", config.name, "--log", str(node.store / NODE_LOG)]
        command = [sys.executable, "-m", "client.supervision.supervisor", *log, "--", *command]
    os.environ |= FLOWER_QUIET
    sys.stdout.flush()
    os.execv(command[0], command)


def _contact(node: NodeConfig) -> str:
    try:
        changed = (node.store / CONTACT_FILE).stat().st_mtime
    except OSError:
        return ""
    return datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds")


def agent_facts(config_file: Path) -> dict[str, Any]:
    """What a device holds and does, for people and programs; it may run meanwhile.

    Raises:
        ConfigurationError: a setting is wrong.
        StorageError: its state cannot be read.
    """
    config: AgentConfig = load_agent_config(config_file)
    node = load_node_config(config.node)
    file = state_file(config, node)
    facts: dict[str, Any] = {"name": config.name, "server": config.server, "last contact": _contact(node)}
    if not file.exists():
        return facts | _held(read_standing(file.with_name(STANDING_FILE)) or Standing())
    state = AgentState(file, read_only=True)
    try:
        order, last = state.running(), state.last()
        return (
            facts
            | _held(state.standing)
            | {
                "last order": f"{last.rollout}.{last.attempt}" if last else "",
                "release ordered": last.version if last else 0,
                "devices done": len(state.done(order)) if order else 0,
                "order runs": order is not None,
                "reports waiting": state.pending(),
                "reports dropped": state.number("dropped"),
                "restarts": state.number("restarts"),
            }
        )
    finally:
        state.close()


def _held(standing: Standing) -> dict[str, Any]:
    return {
        "release in use": standing.in_use.version,
        "release expires": standing.in_use.expires,
        "backbone": standing.in_use.digest[:16],
        "release before": standing.previous.version,
        "highest seen": standing.accepted.highest,
        "spent": {str(device): count for device, count in standing.spent.items()},
    }
