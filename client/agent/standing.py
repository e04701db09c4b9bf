"""What a device holds, in a small checksummed file of its own: what has to survive a damaged database.

Versions are monotonic only as long as a device remembers the highest that it has seen, and a promise of privacy only
as long as it remembers what it has spent. So both are here as well as in the database. The file is written first; the
later of the two counts, and neither count ever falls.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinytrain_core.digests import digest
from tinytrain_core.errors import StorageError
from tinytrain_core.files import write_file
from tinytrain_core.release import Held, Manifest

STANDING_FILE = "held.json"


@dataclass(frozen=True)
class Release:
    """A release that has been in use: version 0 is none.

    Attributes:
        expires: seconds since 1970; 0 is not known. Two of the same version and digest are the same.
    """

    version: int = 0
    digest: str = ""
    expires: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Standing:
    """What a device holds.

    Attributes:
        changes: how often it has changed; the higher of two is the later.
        accepted: the newest release that was accepted, against which orders are monotonic.
        in_use: the last one whose backbone has proven to work; what the device's applications read.
        previous: the one before, kept so that going back costs nothing.
        spent: reports with accuracies that each device has sent, where its reports are protected.
        fleet: whose orders it follows, as the line of its releases and the digest of its authority's key; empty is
            not known.
    """

    changes: int = 0
    accepted: Held = field(default_factory=Held)
    in_use: Release = field(default_factory=Release)
    previous: Release = field(default_factory=Release)
    spent: dict[int, int] = field(default_factory=dict)
    fleet: str = ""

    def accept(self, manifest: Manifest) -> "Standing":
        """The standing once `manifest` was accepted; what is in use stays, unless it is the release before.

        Raises:
            RollbackError: it may not be accepted.
        """
        standing = replace(self, changes=self.changes + 1, accepted=self.accepted.accept(manifest))
        known = Release(manifest.version, manifest.digest, manifest.expires)
        return standing.proven(known) if manifest.is_rollback and known == self.previous else standing

    def proven(self, release: Release) -> "Standing":
        """The standing once the backbone of `release` has been loaded."""
        if release != self.in_use:
            return replace(self, changes=self.changes + 1, in_use=release, previous=self.in_use)
        if release.expires in (0, self.in_use.expires):
            return self
        return replace(self, changes=self.changes + 1, in_use=release)  # it was signed once more

    def spending(self, spent: dict[int, int]) -> "Standing":
        """The standing with more spent."""
        return replace(self, changes=self.changes + 1, spent=self.spent | spent) if spent else self

    def elsewhere(self, fleet: str) -> "Standing":
        """The standing in another fleet, of which nothing is known yet; what was spent stays spent."""
        return Standing(changes=self.changes + 1, spent=self.spent, fleet=fleet)

    def to_json(self) -> str:
        """As text, always the same for the same standing."""
        fields = asdict(self) | {"spent": {str(device): count for device, count in self.spent.items()}}
        return json.dumps(fields, sort_keys=True)


class _Release(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    version: int = Field(ge=0)
    digest: str


class _InUse(_Release):
    expires: int = Field(0, ge=0)


class _Held(_Release):
    highest: int = Field(ge=0)
    created: int = Field(ge=0)


class _Standing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    changes: int = Field(ge=0)
    accepted: _Held
    in_use: _InUse
    previous: _InUse
    spent: dict[int, Annotated[int, Field(ge=0)]]
    fleet: str = ""


def parse_standing(text: str | bytes) -> Standing | None:
    """The standing that a text is, None where it is none."""
    try:
        fields = _Standing.model_validate_json(text)
    except ValidationError:
        return None
    return Standing(
        fields.changes,
        Held(**fields.accepted.model_dump()),
        Release(**fields.in_use.model_dump()),
        Release(**fields.previous.model_dump()),
        fields.spent,
        fields.fleet,
    )


def later(one: Standing | None, other: Standing | None) -> Standing | None:
    """The later of two standings, with the higher of what may only rise."""
    if one is None or other is None:
        return one or other
    newest = one if one.changes >= other.changes else other
    held = replace(
        newest.accepted,
        highest=max(one.accepted.highest, other.accepted.highest),
        created=max(one.accepted.created, other.accepted.created),
    )
    devices = one.spent.keys() | other.spent.keys()
    spent = {device: max(one.spent.get(device, 0), other.spent.get(device, 0)) for device in devices}
    return replace(newest, accepted=held, spent=dict(sorted(spent.items())), changes=newest.changes + (one != other))


def write_standing(file: Path, standing: Standing) -> None:
    """Write it with its checksum.

    Raises:
        StorageError: it cannot be written; the one before is still there.
    """
    text = standing.to_json()
    sealed: dict[str, Any] = {"sha256": digest(text.encode()), "standing": json.loads(text)}
    write_file(file, json.dumps(sealed, sort_keys=True).encode())


def read_standing(file: Path) -> Standing | None:
    """The standing in a file; None where there is none, or a damaged one.

    Raises:
        StorageError: the file is there and cannot be read.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}") from error
    try:
        sealed = json.loads(data)
        text = json.dumps(sealed["standing"], sort_keys=True)
        return parse_standing(text) if sealed["sha256"] == digest(text.encode()) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
