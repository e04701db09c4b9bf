"""What the release commands print: tables and lines for people, JSON for programs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from server.fleet.options import plain_console, rows_table
from server.releases.checks import Finding
from server.releases.registry import Registry
from server.releases.signing import DAY_S, SignedRelease, description, lifetime
from server.words import moment
from tinytrain_core.console import Format
from tinytrain_core.errors import TinyTrainError
from tinytrain_core.release import Trust

WARN_DAYS = 14
_DAY = len("2025-12-31")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    Console().out(json.dumps(value, indent=2), highlight=False)


def print_lines(facts: Mapping[str, str], error: bool = False) -> None:
    """Print named facts, one a line; `error` for the side that is not the result."""
    console = Console(stderr=error, soft_wrap=True, highlight=False, markup=False)
    for name, text in facts.items():
        console.print(f"{name:13s} {text}")


def facts(registry: Registry, trust: Trust | None, release: SignedRelease) -> dict[str, Any]:
    """What is known of a release or roll-back order, as JSON takes it. Times are seconds since 1970."""
    manifest = release.manifest
    withdrawal = None if manifest.is_rollback else registry.withdrawals().get(manifest.version)
    return manifest.model_dump(mode="json") | {
        "signed_by": trust.signers(release.manifest_bytes, release.signatures) if trust else [],
        "signatures": release.signatures,
        "trusted_keys": len(trust.keys) if trust else 0,
        "threshold": trust.threshold if trust else 0,
        "channels": [] if manifest.is_rollback else registry.channels_of(manifest.version),
        "withdrawn": withdrawal.reason if withdrawal else None,
    }


def _signed(row: Mapping[str, Any]) -> str:
    if not row["threshold"]:
        return f"{len(row['signatures'])}, no trust.json"
    text = f"{len(row['signed_by'])} of {row['trusted_keys']}, {row['threshold']} needed"
    return text if len(row["signed_by"]) >= row["threshold"] else f"{text}: too few"


def _cells(release: SignedRelease, row: Mapping[str, Any], now_s: float) -> dict[str, str]:
    manifest = release.manifest
    soon = manifest.expires - now_s < WARN_DAYS * DAY_S
    return {
        "version": str(manifest.version),
        "kind": f"roll-back from {', '.join(map(str, manifest.withdraws))}" if manifest.is_rollback else "release",
        "architecture": manifest.architecture,
        "KiB": f"{manifest.length / 1024:,.0f}",
        "created": moment(manifest.created)[:_DAY],
        "expires": moment(manifest.expires)[:_DAY] + (f" ! {lifetime(manifest, now_s)}" if soon else ""),
        "signatures": _signed(row),
        "channels": ", ".join(row["channels"]),
        "withdrawn": row["withdrawn"] or "",
    }


def _entries(registry: Registry) -> Iterator[tuple[Path, SignedRelease | TinyTrainError]]:
    """Every manifest's file with what is in it, or why it cannot be read."""
    for file in registry.manifest_files():
        try:
            yield file, registry.at(file)
        except TinyTrainError as error:
            yield file, error


def print_list(registry: Registry, trust: Trust | None, now_s: float, style: Format) -> int:
    """Print all releases and roll-back orders; the exit code of the first that is damaged, or 0."""
    cells, rows, failed = list[dict[str, str]](), list[dict[str, Any]](), 0
    for file, entry in _entries(registry):
        if isinstance(entry, TinyTrainError):
            failed = failed or entry.exit_code
            rows.append({"file": str(file), "problem": str(entry)})
            continue
        rows.append(facts(registry, trust, entry) | {"file": str(file)})
        cells.append(_cells(entry, rows[-1], now_s))
    if style is Format.JSON:
        print_json(rows)
        return failed
    if cells:
        plain_console().print(rows_table(cells))
    for row in rows:
        if "problem" in row:
            print_lines({"damaged": row["problem"]}, error=True)
    return failed


def print_release(registry: Registry, trust: Trust | None, release: SignedRelease, now_s: float, style: Format) -> None:
    """Print one release: every field, who signed it, and what was decided about it."""
    row = facts(registry, trust, release)
    version = release.manifest.version
    history = [p.model_dump(mode="json") for p in registry.promotions() if p.version == version]
    orders = [file for file in registry.order_files() if registry.at(file).manifest.version == version]
    if style is Format.JSON:
        print_json(row | {"promotions": history, "rollback_orders": [str(file) for file in orders]})
        return
    lines = description(release.manifest, release.manifest_bytes, now_s)
    lines |= {"signed by": ", ".join(row["signed_by"]) or "nobody that is trusted", "signatures": _signed(row)}
    lines |= {"channels": ", ".join(row["channels"]) or "none"}
    if row["withdrawn"]:
        lines["withdrawn"] = row["withdrawn"]
    if orders:
        lines["return to it"] = ", ".join(file.name for file in orders)
    print_lines(lines)
    for promotion in history:
        how = f"by force to {promotion['channel']}" if promotion["forced"] else f"to {promotion['channel']}"
        print_lines({"promoted": f"{moment(promotion['at'])} {how} {promotion['reason']}".rstrip()})


def print_findings(findings: Sequence[Finding], style: Format) -> None:
    """Print what was checked, and what is wrong with it."""
    if style is Format.JSON:
        print_json([{"what": f.what, "problems": f.problems, "notes": f.notes} for f in findings])
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for finding in findings:
        wrong = bool(finding.problems)
        console.print(f"{'wrong' if wrong else 'good':6s}{finding.what}", style="red" if wrong else "green")
        for text in finding.problems:
            console.print(f"      {text}")
        for text in finding.notes:
            console.print(f"      note: {text}")
