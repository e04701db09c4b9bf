"""What the operator decided about releases: which version was promoted to which channel, and which were withdrawn.

Decisions are only ever added. What a channel offers follows from them: the last version promoted to it that has not
been withdrawn since, so that a withdrawal is one write.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from server.releases.signing import read_bounded
from tinytrain_core.configuration import problems
from tinytrain_core.errors import ManifestError
from tinytrain_core.files import write_file
from tinytrain_core.release import LineName, Seconds, Version

Channel = Literal["canary", "stable"]
CHANNELS: tuple[Channel, ...] = ("canary", "stable")
_MAX_BYTES = 16 * 2**20
_Reason = Annotated[str, Field(max_length=500)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Promotion(_Model):
    """A version became what a channel offers; `forced`: to stable without having been in canary."""

    line: LineName
    version: Version
    channel: Channel
    at: Seconds
    reason: _Reason = ""
    forced: bool = False


class Withdrawal(_Model):
    """A version is not to be used any more."""

    line: LineName
    version: Version
    at: Seconds
    reason: _Reason


class Promotions(_Model):
    """All promotions, the latest last."""

    schema_version: Literal[1] = 1
    decisions: tuple[Promotion, ...] = ()


class Withdrawals(_Model):
    """All withdrawals, the latest last."""

    schema_version: Literal[1] = 1
    decisions: tuple[Withdrawal, ...] = ()


_Decisions = TypeVar("_Decisions", Promotions, Withdrawals)


def read_decisions(kind: type[_Decisions], file: Path) -> _Decisions:
    """The decisions in a file; none where there is no such file.

    Raises:
        StorageError: it cannot be read.
        ManifestError: it is damaged.
    """
    if not file.exists():
        return kind()
    data = read_bounded(file, _MAX_BYTES)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(f"{file} is damaged: {problems(error, 'the file', 4)}; put its backup back") from None


def write_decisions(decisions: Promotions | Withdrawals, file: Path) -> None:
    """Write decisions over those in a file.

    Raises:
        StorageError: it cannot be written; what was there before still is.
    """
    write_file(file, decisions.model_dump_json(indent=1).encode() + b"\n")
