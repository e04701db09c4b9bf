import json
import sys

import pytest

from tests.simulations.fleets import make_folder


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call the program in an empty folder: (exit code, standard output, standard error)."""
    from simulations.cli import main  # under the filter above

    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        monkeypatch.setattr(sys, "argv", ["tinytrain-sim", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


@pytest.mark.parametrize("command", [(), ("demo",), ("fleet",), ("population",), ("report",)])
def test_help_teaches(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "Example" in out or not command


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("fleet", "--method", "magic"), 2, "unknown method 'magic'"),
        (("fleet", "-o", "mix={pdp11: 1}"), 2, "unknown device 'pdp11'"),
        (("fleet", "-o", "colour=red"), 2, "colour"),
        (("fleet", "missing.yaml"), 2, "no configuration file"),
        (("fleet", "-o", "backbone=missing.safetensors"), 2, "no backbone"),
        (("report", "nowhere"), 2, "simulated run"),
    ],
)
def test_a_mistake_is_one_message_and_an_exit_code(run, arguments, code, words):
    found, out, err = run(*arguments)
    assert found == code
    assert words in err
    assert "Traceback" not in err + out
    assert err.count("tinytrain-sim:") == 1


def test_bad_data_is_an_error_of_the_data(run, tmp_path, mcunet_file):
    make_folder(tmp_path / "images", {"only": 4})
    flags = ("--data", "images", "--devices", "2", "-o", f"backbone={mcunet_file}")
    code, _, err = run("population", *flags)
    assert code == 3
    assert "classes" in err


def test_a_population_is_written_and_told(run, tmp_path, mcunet_file):
    make_folder(tmp_path / "images", dict.fromkeys("abcdefgh", 40))
    flags = ("--data", "images", "--devices", "4", "-o", f"backbone={mcunet_file}")
    for _ in range(2):  # a second time in the same place
        code, out, _ = run("population", *flags, "--out", "fleet", "--format", "json")
        assert code == 0
    told = json.loads(out)
    assert len(list((tmp_path / "fleet" / "nodes").iterdir())) == len(told["nodes"])
    _, text, _ = run("population", *flags, "--out", "fleet")
    assert "TINYTRAIN_NODES=" in text
    assert f"num-supernodes={len(told['nodes'])}" in text


@pytest.fixture
def mcunet_file(tmp_path_factory, mcunet):
    from tinytrain_core.backbones.weights import to_bytes

    file = tmp_path_factory.mktemp("backbone") / "mcunet.safetensors"
    file.write_bytes(to_bytes(mcunet))
    return file
