"""What an operator may say about new nodes, and what is said about it if it is wrong."""

from pathlib import Path

import pytest

from server.fleet.nodes import HostedDevice
from server.nodes.listing import MOST_SHOWN, NewNode, new_node, parse_device, read_nodes
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.node_key import make_key, public_of


def write(folder: Path, text: str) -> Path:
    file = folder / "nodes.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_list_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    key = public_of(make_key())
    (tmp_path / "b.pub").write_text(f"{key} me@b\n", encoding="ascii")
    rows = [
        "\ufeffname,devices,location,tags,public_key",
        'a-1,1:pi_4 2:stm32h743,"51.5, -0.1",lab  hot,',
        "",
        "b,3:phone,,,b.pub",
    ]
    first, second = read_nodes(write(tmp_path, "\r\n".join(rows)))
    assert first == NewNode(
        name="a-1",
        devices=(HostedDevice(1, "pi_4"), HostedDevice(2, "stm32h743")),
        tags=("lab", "hot"),
        location="51.5,-0.1",
    )
    assert (second.name, second.public_key, second.tags) == ("b", key, ())
    assert read_nodes(write(tmp_path, f"name,devices,public_key\nc,9:pi_4,{key} me\n"))[0].public_key == key


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    lines = [
        "name,devices,location,public_key",
        "a,1:pi_4,,",
        "../b,2:pi_4,,",
        "c,3:toaster,,",
        "d,4,,",
        "e,,,",
        "f,6:pi_4 6:pi_4,,",
        'g,7:pi_4,"91,0",',
        "h,8:pi_4",
        "i,9:pi_4,,,extra",
        "a,10:pi_4,,",
        "k,1:pi_4,,",
        "l,12:pi_4,,nowhere.pub",
    ]
    with pytest.raises(ConfigurationError) as refused:
        read_nodes(write(tmp_path, "\n".join(lines)))
    text = str(refused.value)
    for expected in (
        "line 3: node '../b': name",
        "line 4: unknown device 'toaster'",
        "line 5: '4' is not NUMBER:PROFILE",
        "line 6: node 'e': devices",
        "line 7: node 'f': devices: Value error, 2 devices have 1 numbers",
        "line 8: node 'g': location",
        "line 9: more or fewer fields",
        "line 10: more or fewer fields",
        "line 11: node a is in line 2 already",
        "line 12: device 1 is in line 2 already",
        "line 13: cannot read the public key",
        "nothing was added",
    ):
        assert expected in text
    assert "line 2:" not in text


def test_a_long_list_of_errors_is_cut(tmp_path: Path) -> None:
    rows = "".join(f"n{number},x\n" for number in range(MOST_SHOWN + 5))
    with pytest.raises(ConfigurationError, match=r"line 21: .*; and 5 more; nothing was added"):
        read_nodes(write(tmp_path, "name,devices\n" + rows))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line is empty"),
        ("name\na\n", "has to name the columns name, devices"),
        ("name,devices,colour\n", "first line is name, devices, colour"),
        ("name,devices,name\n", "each once"),
        ("name,devices\n", "no node below"),
        ('name,devices\na,"1:pi_4\n', "as CSV"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        read_nodes(write(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="as CSV in UTF-8"):
        read_nodes(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes("name,devices\nKüche,1:pi_4\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="as CSV in UTF-8"):
        read_nodes(tmp_path / "latin.csv")


@pytest.mark.parametrize("text", ["", ":", "0:pi_4", "-1:pi_4", "1.5:pi_4", "٣:pi_4", "2147483648:pi_4", "x:pi_4"])
def test_what_is_no_number_of_a_device_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="NUMBER:PROFILE"):
        parse_device(text)


@pytest.mark.parametrize("location", ["1", "1,2,3", "a,b", "nan,0", "90.1,0", "0,-180.1", "inf,0"])
def test_what_is_no_place_on_earth_is_refused(location: str) -> None:
    with pytest.raises(ConfigurationError, match="latitude,longitude"):
        new_node("a", ["1:pi_4"], location=location)


def test_tags_are_words() -> None:
    assert new_node("a", ["1:pi_4"], ["lab", "hot", "lab"]).tags == ("lab", "hot")
    with pytest.raises(ConfigurationError, match="tags"):
        new_node("a", ["1:pi_4"], ["two words"])
