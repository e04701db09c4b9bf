import json
import sys
import zipfile

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
        (("fleet", "-o", "share.alhpa=1"), 2, "the keys of share are scheme"),
        (("fleet", "-o", "faults.drop_out=2"), 2, "faults.drop_out"),
        (("fleet", "town"), 2, "the program brings demo and city"),
        (("fleet", "city", "-o", "availability={kind: trace, file: none.csv}"), 2, "none.csv cannot be read"),
        (("fleet", "-o", "optimiser=magic"), 2, "unknown optimiser 'magic'"),
        (("fleet", "-o", "shots=1000"), 2, "shots"),
        (("fleet", "."), 2, "no configuration file"),
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


@pytest.fixture
def bad_data(tmp_path):
    """Folders and a zip that serve nobody, and a file of settings with a key too many."""
    (tmp_path / "empty").mkdir()
    make_folder(tmp_path / "single", dict.fromkeys("abcdefgh", 1))
    make_folder(tmp_path / "good", dict.fromkeys("abcdefgh", 9))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../outside/a.png", b"x")
    (tmp_path / "keys.yaml").write_text("devices: 2\ncolour: red\n")
    (tmp_path / "latin.yaml").write_bytes("data: Bücher\n".encode("latin-1"))


@pytest.mark.usefixtures("bad_data")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--data", "empty"), 3, "no images"),
        (("--data", "single"), 3, "a user needs 5 classes; 0 of 8"),
        (("--data", "evil.zip"), 3, "escapes"),
        (("--data", "missing"), 2, "no folder"),
        (("--data", "good", "--method", "magic"), 2, "unknown method 'magic'"),
        (("--data", "good", "-o", "mix={pdp11: 1}"), 2, "unknown device 'pdp11'"),
        (("keys.yaml", "--data", "good"), 2, "colour"),
        (("latin.yaml",), 2, "latin.yaml"),
    ],
)
def test_a_fleet_that_cannot_start_says_why_and_leaves_nothing(run, tmp_path, mcunet_file, arguments, code, words):
    found, out, err = run("fleet", *arguments, "--devices", "2", "-o", f"backbone={mcunet_file}", "--out", "results")
    assert (found, err.count("tinytrain-sim:")) == (code, 1)
    assert words in err
    assert "Traceback" not in err + out
    assert not (tmp_path / "results").exists()


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
    assert "FLWR_TELEMETRY_ENABLED=0" in text
    assert "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1" in text
    assert f"num-supernodes={len(told['nodes'])}" in text


@pytest.fixture
def mcunet_file(tmp_path_factory, mcunet):
    from tinytrain_core.backbones.weights import to_bytes

    file = tmp_path_factory.mktemp("backbone") / "mcunet.safetensors"
    file.write_bytes(to_bytes(mcunet))
    return file
