"""The release registry: the files of releases, and what the operator decided about them.

Beside the files of `shelf.py`: channels.json and withdrawn.json, each written in one go under the registry's lock.
"""

import time

from server.releases.history import (
    CHANNELS,
    Channel,
    Promotion,
    Promotions,
    Withdrawal,
    Withdrawals,
    read_decisions,
    write_decisions,
)
from server.releases.shelf import Shelf
from server.releases.signing import LOCK_WAIT_S, SignedRelease, add_signatures, read_bounded, signatures_path
from server.releases.trust import load_trust
from tinytrain_core.configuration import parse_settings
from tinytrain_core.errors import ConfigurationError, SignatureError
from tinytrain_core.files import exclusive
from tinytrain_core.release import MAX_MANIFEST_BYTES, Trust, check_file

__all__ = ["Registry", "SignedRelease", "load_trust"]


def _channel(name: str) -> Channel:
    for known in CHANNELS:
        if name == known:
            return known
    raise ConfigurationError(f"no channel is called {name!r}; there are {', '.join(CHANNELS)}")


class Registry(Shelf):
    """The releases of one line: `Registry(folder, line)`. Errors are those of `Shelf`."""

    def highest(self) -> int:
        """The highest version; 0 where there is none."""
        return max(self.versions(), default=0)

    def promotions(self) -> list[Promotion]:
        """The line's promotions, the latest last."""
        decisions = read_decisions(Promotions, self.folder / "channels.json").decisions
        return [decision for decision in decisions if decision.line == self.line]

    def withdrawals(self) -> dict[int, Withdrawal]:
        """The line's withdrawals by version."""
        decisions = read_decisions(Withdrawals, self.folder / "withdrawn.json").decisions
        return {decision.version: decision for decision in decisions if decision.line == self.line}

    def is_withdrawn(self, version: int) -> bool:
        """Whether a version must not be used any more."""
        return version in self.withdrawals()

    def channel(self, name: str) -> int | None:
        """What a channel offers: the last version promoted to it that is not withdrawn; None where there is none.

        Raises:
            ConfigurationError: there is no such channel.
        """
        wanted, withdrawn = _channel(name), self.withdrawals()
        offered = [p.version for p in self.promotions() if p.channel == wanted and p.version not in withdrawn]
        return offered[-1] if offered else None

    def channels_of(self, version: int) -> list[str]:
        """The channels that offer a version."""
        return [name for name in CHANNELS if self.channel(name) == version]

    def promote(self, version: int, channel: str, reason: str, force: bool = False) -> None:
        """Offer a version in a channel; it does nothing where the channel offers it already.

        Whether the signatures suffice is for the caller to check, who knows whom to trust.

        Args:
            force: to stable although it was never in canary; needs a reason.

        Raises:
            ConfigurationError: there is no such release or channel, it was withdrawn, the channel offers a higher
                version, or it was never in canary.
        """
        wanted = _channel(channel)
        release = self.release(version)
        check_file(release.manifest, self.file(release.manifest.digest))
        with exclusive(self.folder, LOCK_WAIT_S):
            if self.channel(wanted) == version:
                return
            self._check_promotion(version, wanted, reason, force)
            before = read_decisions(Promotions, self.folder / "channels.json")
            fields = self._decided(version, reason) | {"channel": wanted, "forced": force}
            new = parse_settings(Promotion, fields, "the promotion cannot be recorded")
            write_decisions(Promotions(decisions=(*before.decisions, new)), self.folder / "channels.json")

    def _decided(self, version: int, reason: str) -> dict[str, object]:
        return {"line": self.line, "version": version, "at": int(time.time()), "reason": reason}

    def _check_promotion(self, version: int, channel: Channel, reason: str, force: bool) -> None:
        if withdrawal := self.withdrawals().get(version):
            raise ConfigurationError(f"release {version} was withdrawn ({withdrawal.reason}); make a new version")
        if (offered := self.channel(channel) or 0) > version:
            raise ConfigurationError(f"{channel} offers {offered}, above {version}; withdraw {offered} instead")
        if force and not reason:
            raise ConfigurationError("promoting by force needs a reason, which is recorded")
        tried = any(p.version == version and p.channel == "canary" for p in self.promotions())
        if channel == "stable" and not tried and not force:
            raise ConfigurationError(
                f"release {version} was never in canary; promote it there first, or by force with a reason"
            )

    def withdraw(self, version: int, reason: str) -> None:
        """Never use a version again; its files stay. It does nothing where it was withdrawn already.

        Raises:
            ConfigurationError: there is no such release, or no reason.
        """
        if version not in self.versions():
            self.release(version)
        if not reason:
            raise ConfigurationError("withdrawing a release needs a reason, which is recorded")
        with exclusive(self.folder, LOCK_WAIT_S):
            before = read_decisions(Withdrawals, self.folder / "withdrawn.json")
            if version in self.withdrawals():
                return
            new = parse_settings(Withdrawal, self._decided(version, reason), "the withdrawal cannot be recorded")
            write_decisions(Withdrawals(decisions=(*before.decisions, new)), self.folder / "withdrawn.json")

    def take_signatures(self, signatures: dict[str, str], trust: Trust) -> tuple[SignedRelease, list[str]]:
        """File signatures that were made elsewhere under the manifest that they are of.

        Returns:
            The release or roll-back order with all that it now carries, and the ids of the keys that were taken.

        Raises:
            SignatureError: no manifest has a valid signature of a trusted key among them.
        """
        files = self.manifest_files()
        for file in files:
            data = read_bounded(file, MAX_MANIFEST_BYTES)
            if signers := trust.signers(data, signatures):
                add_signatures(signatures_path(file), {name: signatures[name] for name in signers})
                return self.at(file), signers
        raise SignatureError(
            f"none of the {len(signatures)} signatures is one of a trusted key ({', '.join(sorted(trust.keys))}) under "
            f"one of the {len(files)} manifests of {self.line}; was the manifest changed, or the key not added?"
        )
