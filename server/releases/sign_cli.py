"""`tinytrain-server release sign`: with a key where the key is, and the way of its signature to the registry."""

import time
from pathlib import Path
from typing import Annotated

import typer

from server.fleet.options import HERE, FleetFolder, say
from server.releases.key_cli import ask_passphrase
from server.releases.keys import is_exposed, private_key
from server.releases.options import open_registry
from server.releases.registry import load_trust
from server.releases.signing import (
    add_signatures,
    description,
    read_manifest_file,
    read_signatures,
    sign_manifest,
    signatures_path,
)
from server.releases.tables import print_lines
from tinytrain_core.backbones.weights import read_bytes
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.release import Manifest, check_file


def _sign_file(file: Path, key: Path, out: Path, weights: str, yes: bool) -> tuple[Manifest, dict[str, str]]:
    """Show a manifest, ask, sign it, and write the signature."""
    manifest, data = read_manifest_file(file)
    print_lines(description(manifest, data, time.time()))
    if weights:
        check_file(manifest, read_bytes(weights))
        say(f"{weights} are these weights")
    if manifest.expires < time.time():
        say("by this clock it has expired: devices will refuse it")
    secret = private_key(key, ask_passphrase)
    signature = sign_manifest(manifest, data, secret)
    if is_exposed(key):
        say(f"others may read {key}; chmod 600 it")
    if not yes and not typer.confirm("Sign this?", err=True):
        raise typer.Exit(1)
    return manifest, add_signatures(out, signature)


def _import(signatures: Path, fleet: Path) -> None:
    """File signatures that were made elsewhere."""
    registry, folder = open_registry(fleet)
    trust = load_trust(folder)
    found = read_signatures(signatures)
    if not found:
        raise ConfigurationError(f"there are no signatures at {signatures}")
    release, taken = registry.take_signatures(found, trust)
    manifest = release.manifest
    valid = trust.signers(release.manifest_bytes, release.signatures)
    say(
        f"took the signatures of {', '.join(taken)} for {manifest.kind} {manifest.version} of {manifest.name}, which "
        f"now has {len(valid)} of {len(trust.keys)}, {trust.threshold} needed"
    )
    if ignored := sorted(set(found) - set(taken)):
        say(f"ignored {', '.join(ignored)}: not trusted, or not valid")


def _is_filed(signatures: Path, fleet: Path) -> bool:
    """Whether signatures are where the registry of the fleet, if there is one here, reads them."""
    try:
        registry, _ = open_registry(fleet)
    except ConfigurationError:
        return False
    return signatures.resolve() in [signatures_path(file).resolve() for file in registry.manifest_files()]


def sign(
    manifest: Annotated[str, typer.Argument(help="A manifest's file, or the version of a release in --fleet.")] = "",
    key: Annotated[Path | None, typer.Option(help="A private key's PEM file.")] = None,
    out: Annotated[Path | None, typer.Option(help="By default MANIFEST.signatures.json, beside the manifest.")] = None,
    weights: Annotated[str, typer.Option(help="A backbone's file that the manifest has to be about.")] = "",
    take: Annotated[
        Path | None, typer.Option("--import", help="Signatures made elsewhere, to file in --fleet.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    fleet: FleetFolder = HERE,
) -> None:
    """Show what a manifest says and sign it; neither the fleet nor the weights are needed for it.

    Take releases/manifests/LINE/N.json to the machine that has the key, sign it there, bring N.signatures.json back and
    import it. A file that has signatures already is added to, so that it can also go from one signer to the next.

    Example: tinytrain-server release sign 2.json --key alice.pem

    Example: tinytrain-server release sign --import 2.signatures.json --fleet /srv/fleet
    """
    if take is not None:
        if manifest or key:
            raise ConfigurationError("--import takes signatures that were made already, and neither manifest nor --key")
        return _import(take, fleet)
    if not manifest or key is None:
        raise ConfigurationError("give a manifest and --key, or --import")
    file = open_registry(fleet)[0].manifest_file(int(manifest)) if manifest.isdecimal() else Path(manifest)
    target = out or signatures_path(file)
    signed, signatures = _sign_file(file, key, target, weights, yes)
    say(f"wrote {target}, with {len(signatures)} of the {len(signed.key_ids)} signatures that it may have")
    if _is_filed(target, fleet):
        say("it is in its place in the registry, so that nothing has to be imported")
    else:
        say(f"bring it to the registry, and there:\n  tinytrain-server release sign --import {target.name}")
    return None
