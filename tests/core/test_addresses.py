"""Where a program listens: what is an address and what is none, for devices and servers alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from client.agent.config import AgentConfig
from server.fleet.config import FleetConfig
from tinytrain_core.addresses import Binding, HostPort, host_and_port
from tinytrain_core.enrolment import Enrolment

DIALLED, BOUND = TypeAdapter[str](HostPort), TypeAdapter[str](Binding)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(st.lists(LABELS, min_size=1, max_size=3), st.integers(1, 65_535))
def test_a_name_and_a_port(labels: list[str], port: int) -> None:
    name = ".".join(labels)
    assert host_and_port(DIALLED.validate_python(f"{name}:{port}")) == (name, port)


@pytest.mark.parametrize("text", ["192.0.2.7:443", "[2001:db8::7]:65535", "localhost:1", "a" * 63 + ".b:1"])
def test_addresses(text: str) -> None:
    assert DIALLED.validate_python(text) == text


WRONG = [
    "", "a", "a:", ":1", ".:1", "a..b:1", ".a:1", "a.:1", "-a:1", "a-:1", "a:0", "a:65536", "a:99999", "a:01", "a:1 ",
    "a_b:1", "a:1:2", "2001:db8::7:443", "[::1:1", "[]:1", "[:::]:1", "[fe80::1%lo]:1", "a\n:1", "a:1\n", "a:\u0661",
    "a" * 64 + ":1", ".".join(["a" * 60] * 5) + ":1",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValidationError):
        DIALLED.validate_python(text)


def test_only_what_is_bound_may_be_left_to_the_system() -> None:
    assert BOUND.validate_python("127.0.0.1:0") == "127.0.0.1:0"


def test_a_server_and_its_devices_mean_the_same() -> None:
    kinds = (AgentConfig.model_fields["server"], Enrolment.model_fields["server"], FleetConfig.model_fields["address"])
    assert {str(field.metadata) for field in kinds} == {str(AgentConfig.model_fields["server"].metadata)}
