"""Why a server cannot be reached, told from real servers that cannot be."""

import socket
import time
from pathlib import Path

import pytest

from client.connection.diagnosis import Cause, Finding, diagnose
from tests.client.servers import Authority, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "fleet")


def ask(authority: Authority, port: int, host: str = "localhost", status: int | None = None) -> Finding:
    return diagnose(host, port, authority.file, time.time(), status)


def test_a_server_that_is_all_right_is_said_to_be(authority: Authority) -> None:
    with serving(authority.issue("localhost")) as port:
        assert ask(authority, port).cause == Cause.NONE


def test_a_name_that_nobody_has(authority: Authority) -> None:
    found = ask(authority, 443, "no-such-host.invalid")
    assert found.cause == Cause.NAME
    assert "no-such-host.invalid" in found.text


def test_nobody_listens(authority: Authority) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = ask(authority, taken.getsockname()[1])
    assert found.cause == Cause.NOBODY


def test_a_server_without_tls(authority: Authority) -> None:
    with serving(None) as port:
        assert ask(authority, port).cause == Cause.NOT_TLS


def test_a_certificate_of_another_ca(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with serving(Authority(tmp_path / "other", "fleet").issue("localhost")) as port:
        found = ask(authority, port)
    assert found.cause == Cause.UNTRUSTED
    assert str(authority.file) in found.text


def test_a_certificate_that_has_expired(authority: Authority) -> None:
    with serving(authority.issue("localhost", (-20, -10))) as port:
        assert ask(authority, port).cause == Cause.EXPIRED


def test_a_certificate_of_the_future_means_a_clock_that_is_behind(authority: Authority) -> None:
    with serving(authority.issue("localhost", (10, 20))) as port:
        assert ask(authority, port).cause == Cause.CLOCK


def test_a_certificate_of_another_name(authority: Authority) -> None:
    with serving(authority.issue("fleet.example")) as port:
        assert ask(authority, port).cause == Cause.OTHER_NAME
        assert ask(authority, port, "127.0.0.1").cause == Cause.OTHER_NAME


@pytest.mark.parametrize(("off_s", "words"), [(3_600, "3600 s behind"), (-3_600, "3600 s ahead of"), (400, "behind")])
def test_a_clock_that_is_wrong_is_told_with_the_difference(off_s: int, words: str, authority: Authority) -> None:
    with serving(authority.issue("localhost"), off_s) as port:
        found = diagnose("localhost", port, authority.file, int(time.time()), 401)
    assert found.cause == Cause.CLOCK
    assert words in found.text.replace("3599", "3600").replace("3601", "3600")


def test_a_clock_within_what_flower_lets_pass(authority: Authority) -> None:
    with serving(authority.issue("localhost"), 200) as port:
        assert ask(authority, port).cause == Cause.NONE


@pytest.mark.parametrize("date", ["Mon, 01 Jan 2024 00:00:00 +" + "9" * 30, "Mon, 01 Jan 999999 00:00:00", "0"])
def test_a_date_that_is_none_says_nothing(date: str, authority: Authority) -> None:
    with serving(authority.issue("localhost"), date=date) as port:
        assert ask(authority, port, status=401).cause == Cause.KEY


@pytest.mark.parametrize("host", ["fleet..example.org", "a" * 70 + ".org", "-", "."])
def test_a_name_that_can_be_none(host: str, authority: Authority) -> None:
    assert ask(authority, 443, host).cause == Cause.NAME


@pytest.mark.parametrize("port", [0, 99_999])
def test_a_port_that_can_be_none(port: int, authority: Authority) -> None:
    assert ask(authority, port).cause in (Cause.NAME, Cause.NOBODY)


def test_a_server_that_never_answers(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.connection.pace.CALL_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ask(authority, silent.getsockname()[1]).cause == Cause.SILENT


REFUSALS = [(401, Cause.KEY), (412, Cause.KEY), (404, Cause.TOO_OLD), (302, Cause.ELSEWHERE), (500, Cause.SERVER)]


@pytest.mark.parametrize(("status", "cause"), REFUSALS)
def test_a_refusal_is_explained(status: int, cause: Cause, authority: Authority) -> None:
    with serving(authority.issue("localhost")) as port:
        assert ask(authority, port, status=status).cause == cause


def test_a_ca_that_is_not_there(tmp_path: Path) -> None:
    found = diagnose("localhost", 1, tmp_path / "none.crt", time.time())
    assert found.cause == Cause.CA_FILE
