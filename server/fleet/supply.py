"""What the controller sends, out of the registry, and what it tells the registry when a rollout has ended."""

import logging
from pathlib import Path

from server.fleet.rollout.state import BACKWARD, Decision, Phase, RolloutState
from server.releases.registry import Registry, SignedRelease, load_trust
from server.releases.trust import TRUST_FILE
from tinytrain_core.errors import BackboneError, ConfigurationError, ReleaseError, StorageError
from tinytrain_core.release import Trust

UNUSABLE = (ReleaseError, ConfigurationError, StorageError, BackboneError)
MAX_REASON = 500  # characters, in the registry
log = logging.getLogger("tinytrain.controller")


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Another one whenever a file was written; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def no_way_back(version: int, to: int) -> str:
    """What to do where no roll-back order was signed."""
    return (
        f"the registry has no roll-back order from release {version} to {to}; make one with `tinytrain-server release "
        f"create --rollback-to {to} --withdraws {version}` and sign it, or say `rollback: none`"
    )


class Supply:
    """The registry as a rollout needs it. The weights that were read last are kept, to be one object for all nodes.

    Args:
        folder: the fleet's, whose trust is read again whenever its file has changed.

    Raises:
        ConfigurationError: the fleet has no trust yet.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self._folder = registry, folder
        self._stamp, self._known = _stamp(folder / TRUST_FILE), load_trust(folder)
        self._file: tuple[str, bytes] | None = None

    def trust(self) -> Trust:
        """Whose signatures count now.

        Raises:
            ConfigurationError: the file is gone, or damaged.
        """
        stamp = _stamp(self._folder / TRUST_FILE)
        if stamp is None or stamp != self._stamp:
            self._known, self._stamp = load_trust(self._folder), stamp
        return self._known

    def withdrawn(self) -> frozenset[int]:
        """The versions that are not to be used again; none where the registry cannot be read now."""
        try:
            return frozenset(self.registry.withdrawals())
        except UNUSABLE as error:
            log.error("the registry's withdrawals cannot be read: %s", error)
            return frozenset()

    def release(self, rollout: RolloutState, now_s: float) -> SignedRelease:
        """What is sent now: the release, or the order to go back.

        Raises:
            ConfigurationError, ReleaseError, StorageError: there is none, or it is damaged.
        """
        if rollout.phase not in BACKWARD:
            return self.registry.release(rollout.version)
        order = self.registry.rollback_order(rollout.back_to or 0, rollout.version, self.trust(), now_s)
        if order is None:
            raise ConfigurationError(no_way_back(rollout.version, rollout.back_to or 0))
        return order

    def problem(self, rollout: RolloutState, now_s: float) -> tuple[str, bool]:
        """Why it cannot be sent, empty where it can; and whether the release was withdrawn."""
        try:
            backward = rollout.phase in BACKWARD
            version = (rollout.back_to or 0) if backward else rollout.version
            if found := self.registry.withdrawals().get(version):
                cure = "; end it with `rollout abort --keep` and give the nodes another release" if backward else ""
                return f"release {version} was withdrawn: {found.reason}{cure}", not backward
            release = self.release(rollout, now_s)
            release.check(self.trust(), now_s)
            self.file(release.manifest.digest)
        except UNUSABLE as error:
            return f"{'the roll-back order' if rollout.phase in BACKWARD else 'the release'}: {error}", False
        return "", False

    def file(self, digest: str) -> bytes:
        """The weights of that digest.

        Raises:
            ConfigurationError, ReleaseError, StorageError: they are not there, or damaged.
        """
        if self._file is None or self._file[0] != digest:
            self._file = digest, self.registry.file(digest)
        return self._file[1]

    def end(self, rollout: RolloutState) -> Decision | None:
        """Tell the registry how the rollout ended; None where there is nothing to tell, or it cannot be written now."""
        try:
            if rollout.phase in BACKWARD:
                self.registry.withdraw(rollout.version, f"rollout {rollout.spec.name}: {rollout.reason}"[:MAX_REASON])
                return Decision("withdrawn", f"release {rollout.version} is not to be used again")
            if rollout.phase is Phase.COMPLETED and (channel := rollout.spec.promote_to):
                # The rollout itself was the release's trial, whatever channel it began from.
                self.registry.promote(rollout.version, channel, f"rollout {rollout.spec.name} completed", force=True)
                return Decision("promoted", f"{channel} offers release {rollout.version}")
        except StorageError as error:
            log.error("the registry cannot be told of the end of rollout %s: %s", rollout.spec.name, error)
        except (ConfigurationError, ReleaseError) as error:
            return Decision("not filed", f"the registry did not take the end of the rollout: {error}")
        return None
