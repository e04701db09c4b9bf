"""`tinytrain-sim rehearse`: what a rollout would do to a fleet, before anybody's device hears of it."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from server.fleet.rollout.spec import RolloutSpec
from simulations.clock import START_S
from simulations.engine import executor
from simulations.environment import WORKER, environment
from simulations.options import CONFIG_HELP, Overrides, Seed, Style, Workers
from simulations.overrides import parse_overrides
from simulations.population import check_data, node_configs
from simulations.rehearsal.devices import DEVICES_FILE
from simulations.rehearsal.folder import Releases
from simulations.rehearsal.output import PAGE_FILE, REHEARSAL_FILE, Findings, write_findings
from simulations.rehearsal.progress import progress
from simulations.rehearsal.rehearse import PASS_S, UNTIL_H, End, Pace, Rehearsal, rehearse
from simulations.rehearsal.sections import effort
from simulations.rehearsal.world import RehearsedWorld
from simulations.reporting.sections import print_sections
from simulations.run_folder import LOGS
from simulations.settings import FleetSettings, load_settings, shipped
from simulations.studies.program import INTERRUPTED, PROGRAM, typed_command
from tinytrain_core.configuration import parse_settings, read_yaml_file
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError, StorageError
from tinytrain_core.files import write_file

NOT_COMPLETED = 20  # the exit code where a gate, or nobody's answering, kept the release from the fleet
SHIPPED_ROLLOUT = "rollout"  # in simulations/configs/
FUNCTION = "simulations.rehearsal.work:personalise"

SpecFile = Annotated[
    Path,
    typer.Argument(
        metavar="ROLLOUT.yaml",
        help="The rollout, as `tinytrain-server rollout start` takes it, or `rollout`, which the program brings.",
    ),
]
Fleet = Annotated[
    Path | None, typer.Option("--fleet", metavar="FLEET.yaml", help=f"The fleet to rehearse it on. {CONFIG_HELP}")
]
Release = Annotated[
    str | None,
    typer.Option(
        help="The release: a .safetensors file, or a shipped backbone's name. By default the fleet's backbone."
    ),
]
Stable = Annotated[
    str | None,
    typer.Option(
        help="The backbone that all nodes use already, as release 1, and go back to. By default they use none yet: "
        "release 1 has the same weights as the release, and who goes back goes back to these. With it max_drop is "
        "judged: each device that is ordered also computes what it gave before."
    ),
]
PassS = Annotated[
    float,
    typer.Option(min=0.1, max=3_600.0, help="The least virtual seconds between two looks of the server at its fleet."),
]
UntilH = Annotated[float, typer.Option(min=0.01, max=24 * 366.0, help="The most virtual hours to look at.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Compute everything again; else what is known is not.")]
Out = Annotated[Path, typer.Option(help="Where the results go; a former rehearsal in it is replaced.")]


def _prepare(out: Path, command: str) -> None:
    """A place for a rehearsal; what a former one has computed stays.

    Raises:
        ConfigurationError: the folder holds something else.
        StorageError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = {file.name for file in out.iterdir()}
        if held and REHEARSAL_FILE not in held:
            found = f"{len(held)} other files or folders ({', '.join(sorted(held)[:3])})"
            raise ConfigurationError(f"{out} holds {found} and no {REHEARSAL_FILE}; give another --out")
        for name in (PAGE_FILE, DEVICES_FILE):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot prepare {out}: {error.strerror}; give another --out") from error
    write_file(out / REHEARSAL_FILE, json.dumps({"command": command, "end": "under way"}, indent=2).encode() + b"\n")


def _spec(rollout: Path) -> RolloutSpec:
    """The rollout in a file, or the shipped one by its name where there is no such file.

    Raises:
        ConfigurationError: there is no such file, or it is not a rollout.
    """
    if str(rollout) == SHIPPED_ROLLOUT and not rollout.is_file():
        fields = shipped(SHIPPED_ROLLOUT)
    else:
        fields = read_yaml_file(
            rollout,
            f"write one as docs/operations.md explains it, beginning with simulations/configs/{SHIPPED_ROLLOUT}.yaml, "
            f"which `{PROGRAM} rehearse {SHIPPED_ROLLOUT}` takes by its name",
        )
    return parse_settings(RolloutSpec, fields, f"{rollout} is not a rollout")


def _settings(fleet: Path | None, flags: dict[str, int | None], override: list[str] | None) -> FleetSettings:
    """The fleet's settings.

    Raises:
        ConfigurationError: they are wrong, or name an engine that has no processes to compute in.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    settings = load_settings(fleet, given | parse_overrides(override or []))
    if settings.engine == "flower":
        raise ConfigurationError("engine is flower, and a rehearsal computes in processes of its own: workers, or ray")
    return settings


def _rehearsed(
    spec: RolloutSpec, settings: FleetSettings, releases: Releases, out: Path, pace: Pace, fresh: bool, talk: Console
) -> Rehearsal:
    check_data(settings)
    nodes = node_configs(settings, out)
    world = RehearsedWorld(settings, nodes)
    with environment(WORKER), executor(settings, FUNCTION, out / LOGS) as workers, progress(talk, START_S) as told:
        return rehearse(spec, nodes, world, releases, workers, out, pace, fresh, told)


def _show(findings: Findings, style: Format, console: Console, talk: Console) -> None:
    if style is Format.JSON:
        console.out(json.dumps(findings.record | {"report": str(findings.page)}, indent=2), highlight=False)
        return
    talk.print(f"\n{findings.record['headline']}\n", highlight=False, soft_wrap=True, markup=False)
    print_sections(console, findings.sections)
    talk.print(f"The report: {findings.page.resolve()}", highlight=False, soft_wrap=True, markup=False)


def rehearse_command(
    rollout: SpecFile,
    fleet: Fleet = None,
    release: Release = None,
    stable: Stable = None,
    seed: Seed = None,
    workers: Workers = None,
    pass_s: PassS = PASS_S,
    until_h: UntilH = UNTIL_H,
    fresh: Fresh = False,
    out: Out = Path("runs/rehearsal"),
    override: Overrides = None,
    style: Style = Format.TABLE,
) -> None:
    """Rehearse a rollout: the server's own stages and gates, on a simulated fleet, in virtual time.

    ROLLOUT.yaml is the very file that `tinytrain-server rollout start` takes, and FLEET.yaml a fleet as `fleet` takes
    it: its mix of devices, its users' data, who is there when, links, batteries, faults. Every device that is ordered
    really personalises; only its seconds pass at once. The table says when each stage ends, what its gates see, which
    one stops the rollout, and what it costs in bytes and joules; --out gets a page with the picture of it, a table of
    devices, and everything as JSON.

    The training is what the rollout says (`training:`), not the fleet's. What was computed is kept in --out: with other
    stages or gates the same rollout is rehearsed again in seconds, and an interrupted rehearsal goes on. Say --fresh
    where files of images or weights have changed under the same name.

    It ends with 0 where the rollout completed, and with 20 where it did not: a gate stopped it, it waits for an
    operator, or time ran out.

    Example: tinytrain-sim rehearse spring.yaml --fleet city --release new.safetensors -o devices=200
    """
    command, spec = typed_command(), _spec(rollout)
    settings = _settings(fleet, {"seed": seed, "workers": workers}, override)
    console = Console()
    talk = Console(stderr=True) if style is Format.JSON else console
    _prepare(out, command)
    releases = Releases(settings.backbone if release is None else release, stable)
    began_s = time.monotonic()
    try:
        rehearsal = _rehearsed(spec, settings, releases, out, Pace(pass_s, until_h), fresh, talk)
    except KeyboardInterrupt:
        Console(stderr=True).print(f"{PROGRAM}: interrupted; the same command goes on, without --fresh", style="red")
        raise typer.Exit(INTERRUPTED) from None
    findings = write_findings(rehearsal, settings, command, out)
    talk.print(effort(rehearsal, time.monotonic() - began_s), highlight=False, soft_wrap=True)
    _show(findings, style, console, talk)
    if rehearsal.end is not End.COMPLETED:
        raise typer.Exit(NOT_COMPLETED)
