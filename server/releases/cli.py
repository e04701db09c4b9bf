"""`tinytrain-server release`: make releases, sign them, and say which of them the fleet is offered."""

import time
from typing import Annotated

import typer

from server.fleet.options import HERE, FleetFolder, Style, say
from server.releases.checks import check_all, check_order, check_release
from server.releases.drafts import draft_release, draft_rollback
from server.releases.key_cli import keygen, trust_app
from server.releases.options import open_registry, trust_if_any
from server.releases.registry import load_trust
from server.releases.sign_cli import sign
from server.releases.signing import description, signatures_path
from server.releases.tables import print_findings, print_lines, print_list, print_release
from tinytrain_core.backbones.weights import BACKBONE_HELP, read_bytes
from tinytrain_core.console import Format
from tinytrain_core.errors import ConfigurationError, ReleaseError

app = typer.Typer(
    help="Make releases, sign them, and say which of them the fleet is offered.\n\n"
    "Keys are made once with `keygen` and pinned with `trust add`. A release is made with `create`, signed with "
    "`sign` by as many people as the threshold asks for, each where their key is, and then promoted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(keygen)
app.command()(sign)
app.add_typer(trust_app, name="trust")

VersionArgument = Annotated[int, typer.Argument(min=1, help="The version of a release.")]


def _versions(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"--withdraws takes versions as 3 or 3,4, not {text!r}") from None


@app.command()
def create(
    backbone: Annotated[str, typer.Argument(help=BACKBONE_HELP, show_default=False)] = "",
    fleet: FleetFolder = HERE,
    version: Annotated[int, typer.Option(min=0, help="Above all others; by default the highest and one.")] = 0,
    expires_days: Annotated[int, typer.Option(min=1, max=3_650, help="Devices do not begin to use it later.")] = 90,
    min_client: Annotated[str, typer.Option(help="The oldest tinytrain-fleet that can use it, as 0.2.0.")] = "0.0.0",
    rollback_to: Annotated[int, typer.Option(min=0, help="Make an order to go back to this version instead.")] = 0,
    withdraws: Annotated[
        str, typer.Option(help="With --rollback-to: the versions that it takes back, as 3 or 3,4.")
    ] = "",
) -> None:
    """Make the manifest of a release, or of a roll-back order, which is then to be signed.

    An order is signed beforehand, so that a bad release can be taken back at night, without anybody's key.

    Example: tinytrain-server release create runs/mine.safetensors --expires-days 90

    Example: tinytrain-server release create --rollback-to 1 --withdraws 2
    """
    registry, folder = open_registry(fleet)
    trust = load_trust(folder)
    if bool(rollback_to) != bool(withdraws) or (rollback_to and (backbone or version)):
        raise ConfigurationError("a roll-back order takes --rollback-to and --withdraws, and no backbone or --version")
    if rollback_to:
        manifest = draft_rollback(registry, trust, rollback_to, _versions(withdraws), time.time(), expires_days)
        file = registry.add_order(manifest)
    else:
        data = read_bytes(backbone)
        manifest = draft_release(registry, trust, data, time.time(), expires_days, version, min_client)
        file = registry.add(manifest, data)
    print_lines(description(manifest, manifest.to_bytes(), time.time()))
    say(f"wrote {file}; {trust.threshold} of {len(trust.keys)} keys have to sign it. Where a key is on this machine:")
    say(f"  tinytrain-server release sign {file} --key KEY.pem")
    signatures = signatures_path(file).name
    say(f"elsewhere: copy that file there, sign the copy ({file.name}), bring {signatures} back, and here:")
    say(f"  tinytrain-server release sign --import {signatures}")


@app.command("list")
def list_command(fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """List releases and roll-back orders: signatures, dates, channels, withdrawals.

    Example: tinytrain-server release list --fleet /srv/fleet
    """
    registry, folder = open_registry(fleet)
    raise typer.Exit(print_list(registry, trust_if_any(folder), time.time(), style))


@app.command()
def show(version: VersionArgument, fleet: FleetFolder = HERE, style: Style = Format.TABLE) -> None:
    """Show one release: what was signed, by whom, and what was decided about it.

    Example: tinytrain-server release show 2
    """
    registry, folder = open_registry(fleet)
    print_release(registry, trust_if_any(folder), registry.release(version), time.time(), style)


@app.command()
def verify(
    version: Annotated[int, typer.Argument(min=0, help="By default everything in the registry.")] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Everything, as without a version.")] = False,
    fleet: FleetFolder = HERE,
    style: Style = Format.TABLE,
) -> None:
    """Check manifests, signatures, dates and weights. The exit code is 11 where anything is wrong.

    A release that is withdrawn, or below the stable one and offered to nobody, may have expired.

    Example: tinytrain-server release verify 2
    """
    registry, folder = open_registry(fleet)
    trust, now = load_trust(folder), time.time()
    findings = check_all(registry, trust, now) if everything or not version else None
    if findings is None:
        orders = [f for f in registry.order_files() if f.name.startswith(f"{version}-")]
        findings = [check_release(registry, trust, version, now)]
        findings += [check_order(registry, trust, file, now) for file in orders]
    print_findings(findings, style)
    raise typer.Exit(ReleaseError.exit_code if any(finding.problems for finding in findings) else 0)


@app.command()
def promote(
    version: VersionArgument,
    channel: Annotated[str, typer.Option(help="canary or stable.")],
    reason: Annotated[str, typer.Option(help="Recorded.")] = "",
    force: Annotated[bool, typer.Option("--force", help="To stable although it was never in canary.")] = False,
    fleet: FleetFolder = HERE,
) -> None:
    """Offer a release in a channel, if `verify` finds nothing wrong with it.

    Example: tinytrain-server release promote 2 --channel canary
    """
    registry, folder = open_registry(fleet)
    finding = check_release(registry, load_trust(folder), version, time.time())
    if finding.problems:
        raise ReleaseError(f"release {version} is not promoted: {'; '.join(finding.problems)}")
    registry.promote(version, channel, reason, force)
    say(f"{channel} offers release {version}")


@app.command()
def withdraw(
    version: VersionArgument,
    reason: Annotated[str, typer.Option(help="Recorded.")],
    fleet: FleetFolder = HERE,
) -> None:
    """Never promote or roll out a release again. Its files stay; devices that use it need a roll-back order.

    Example: tinytrain-server release withdraw 2 --reason "worse on dark images"
    """
    registry, _ = open_registry(fleet)
    registry.withdraw(version, reason)
    offered = ", ".join(f"{name}: {registry.channel(name) or 'nothing'}" for name in ("canary", "stable"))
    say(f"release {version} is withdrawn; the channels now offer {offered}")
