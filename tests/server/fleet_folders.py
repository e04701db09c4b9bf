"""A fleet's folder as `init`, `pki init` and `release trust add` leave it, and a person at its command line."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import typer
from click.testing import Result
from typer.testing import CliRunner

from server.fleet.config import FleetConfig, load_fleet_config
from server.pki import folder as pki
from tests.releases import trust_of

ADDRESS = "fleet.example.org:443"


def make_fleet(folder: Path, superlink: str = "127.0.0.1:9092", with_pki: bool = True) -> FleetConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.yaml").write_text(f"address: {ADDRESS}\nsuperlink: {superlink}\n", encoding="utf-8")
    (folder / "trust.json").write_text(trust_of(1, 2).model_dump_json(), encoding="utf-8")
    config = load_fleet_config(folder)
    if with_pki:
        pki.init(config, time.time())
    return config


def call(app: typer.Typer, *arguments: object, variables: Mapping[str, str] | None = None) -> Result:
    """A command with its output; its error, if it is one of ours, is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=variables)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def printed(result: Result) -> object:
    """What a command printed as JSON."""
    return json.loads(result.stdout)
