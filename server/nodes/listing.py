"""What an operator says about new nodes: by options of a command, or as the rows of a CSV file."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from server.fleet.nodes import HostedDevice
from tinytrain_core.configuration import problems
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.enrolment import NodeName
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.node_key import MAX_KEY_CHARACTERS, parse_public
from tinytrain_core.wire import MAX_DEVICES_PER_NODE

COLUMNS = ("name", "devices", "tags", "location", "public_key")
REQUIRED = COLUMNS[:2]
MOST_SHOWN = 20
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]


class NewNode(BaseModel):
    """A node to add.

    Attributes:
        location: latitude,longitude in degrees, or nothing.
        public_key: of a pair that the device made, in OpenSSH format; empty to make one for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: NodeName
    devices: Annotated[tuple[HostedDevice, ...], Field(min_length=1, max_length=MAX_DEVICES_PER_NODE)]
    tags: tuple[Tag, ...] = ()
    location: str = ""
    public_key: str = ""

    @field_validator("devices")
    @classmethod
    def _distinct(cls, devices: tuple[HostedDevice, ...]) -> tuple[HostedDevice, ...]:
        numbers = [device.number for device in devices]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"{len(numbers)} devices have {len(set(numbers))} numbers; give each its own")
        return devices

    @field_validator("location")
    @classmethod
    def _on_earth(cls, location: str) -> str:
        if not location:
            return location
        try:
            latitude, longitude = (float(part) for part in location.split(","))
        except ValueError:
            latitude = longitude = math.nan
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            raise ValueError(f"{location!r} is not latitude,longitude in degrees, as 51.5,-0.1")
        return location


def parse_device(text: str) -> HostedDevice:
    """A device from `NUMBER:PROFILE`.

    Raises:
        ConfigurationError: not of that form, or an unknown device class.
    """
    number, colon, profile = text.partition(":")
    if not (colon and number.isascii() and number.isdigit() and 1 <= int(number) < 2**31):
        raise ConfigurationError(f"{text!r} is not NUMBER:PROFILE with a number from 1, as 1:pi_4")
    return HostedDevice(int(number), device_profile(profile).name)


def new_node(
    name: str, devices: Sequence[str], tags: Sequence[str] = (), location: str = "", public_key: str = ""
) -> NewNode:
    """A node to add, checked.

    Args:
        devices: each as NUMBER:PROFILE.

    Raises:
        ConfigurationError: what of it is wrong.
    """
    try:
        return NewNode(
            name=name,
            devices=tuple(parse_device(text) for text in devices),
            tags=tuple(dict.fromkeys(tags)),
            location=location.replace(" ", ""),
            public_key=public_key and parse_public(public_key, f"the key of node {name}"),
        )
    except ValidationError as error:
        raise ConfigurationError(f"node {name!r}: {problems(error, 'the node')}") from None


def read_public_key(file: Path) -> str:
    """The public key in a file.

    Raises:
        ConfigurationError: it cannot be read, or is not one.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            return parse_public(stream.read(MAX_KEY_CHARACTERS), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the public key {file}: {error}") from None


def _row(fields: Mapping[str | None, Any], folder: Path) -> NewNode:
    """A node from a row of the file."""
    if None in fields or None in fields.values():
        raise ConfigurationError("more or fewer fields than the header has; quote a field that has commas in it")
    key = fields.get("public_key", "")
    return new_node(
        name=fields["name"],
        devices=fields["devices"].split(),
        tags=fields.get("tags", "").split(),
        location=fields.get("location", ""),
        public_key=key if not key or " " in key else read_public_key(folder / key),
    )


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str | None, Any]]]:
    """The rows of a file with the lines that they end on."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or []
            if set(header) - set(COLUMNS) or set(REQUIRED) - set(header) or len(set(header)) < len(header):
                raise ConfigurationError(
                    f"{file}: the first line is {', '.join(header) or 'empty'}; it has to name the columns "
                    f"{', '.join(REQUIRED)} and can name {', '.join(COLUMNS[2:])}, each once"
                )
            for fields in reader:
                yield reader.line_num, {name: v.strip() if isinstance(v, str) else v for name, v in fields.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"cannot read {file} as CSV in UTF-8: {error}") from None


def read_nodes(file: Path) -> list[NewNode]:
    """The nodes of a CSV file.

    Its columns are name, devices (`1:pi_4 2:stm32h743`), and optionally tags (with spaces between them), location
    and public_key (a file beside this one, or the key itself).

    Raises:
        ConfigurationError: it cannot be read; or what is wrong, with the lines.
    """
    found: list[NewNode] = []
    wrong: list[str] = []
    taken: dict[str | int, int] = {}
    for line, fields in _rows(file):
        try:
            node = _row(fields, file.parent)
        except ConfigurationError as error:
            wrong.append(f"line {line}: {error}")
            continue
        names: list[str | int] = [node.name, *(device.number for device in node.devices)]
        for one in names:
            if (first := taken.setdefault(one, line)) != line:
                what = f"node {one}" if isinstance(one, str) else f"device {one}"
                wrong.append(f"line {line}: {what} is in line {first} already")
        found.append(node)
    if wrong:
        more = f"; and {len(wrong) - MOST_SHOWN} more" if len(wrong) > MOST_SHOWN else ""
        raise ConfigurationError(f"{file}: {'; '.join(wrong[:MOST_SHOWN])}{more}; nothing was added")
    if not found:
        raise ConfigurationError(f"{file} has no node below its first line")
    return found
