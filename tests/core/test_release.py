import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.releases import NOW, manifest_of
from tinytrain_core.errors import ManifestError
from tinytrain_core.release import MAX_MANIFEST_BYTES, MAX_VERSION, Manifest, check_file, parse_manifest

WEIGHTS = b"the weights of a backbone" * 40
PLAIN = manifest_of(WEIGHTS)
BYTES = PLAIN.to_bytes()


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    version = draw(st.integers(1, MAX_VERSION - 1))
    above = draw(st.lists(st.integers(version + 1, MAX_VERSION), max_size=64))
    created = draw(st.integers(0, 2**40 - 2))
    return Manifest(
        kind="rollback" if above else "release",
        name=draw(st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)),
        version=version,
        withdraws=above,
        architecture=draw(st.from_regex(r"[!-~]{1,64}", fullmatch=True)),
        input_scaling=draw(st.from_regex(r"[ -~]{0,200}", fullmatch=True)),
        digest=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        length=draw(st.integers(1, 2**40 - 1)),
        created=created,
        expires=draw(st.integers(created + 1, 2**40 - 1)),
        key_ids=draw(st.lists(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), max_size=32)),
        min_client=".".join(str(draw(st.integers(0, 9999))) for _ in range(3)),
    )


@given(manifests())
def test_every_manifest_has_one_form_and_is_read_back(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    assert len(data) <= MAX_MANIFEST_BYTES
    assert parse_manifest(data) == manifest
    assert data.isascii()
    fields = json.loads(data)
    for other in (json.dumps(fields), json.dumps(fields, indent=1), json.dumps(dict(reversed(fields.items())))):
        with pytest.raises(ManifestError, match="canonical"):
            parse_manifest(other.encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_else_is_not_a_manifest(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=9), children, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*Manifest.model_fields, "more"]), JSON)
def test_a_field_of_any_other_kind_is_refused(name: str, value: object) -> None:
    fields = json.loads(BYTES)
    data = json.dumps(fields | {name: value}, sort_keys=True, separators=(",", ":")).encode()
    try:
        read = parse_manifest(data)
    except ManifestError:
        return
    assert read.to_bytes() == data
    assert name in fields


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"x" * (MAX_MANIFEST_BYTES + 1), "8193 bytes"),
        (b"[" * 8000, "not a JSON object"),
        (b'{"schema_version":2}', "schema 2, this program reads schema 1"),
        (BYTES.replace(b'"schema_version":1', b'"schema_version":true'), "canonical"),
        (BYTES.replace(b'"schema_version":1', b'"schema_version":1.0'), "canonical"),
        (BYTES.replace(b'"version":1', b'"version":1,"version":1'), "canonical"),
        (BYTES.replace(b"mcunet", b"\\u001b[2Kmcunet"), "architecture"),
        (BYTES.decode().encode("utf-16"), "canonical"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(data: bytes, text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        parse_manifest(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"withdraws": [2]},
        {"kind": "rollback"},
        {"kind": "rollback", "withdraws": [1]},
        {"expires": NOW},
        {"version": 0},
        {"version": MAX_VERSION + 1},
        {"min_client": "1.0"},
    ],
)
def test_manifests_that_contradict_themselves(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        manifest_of(WEIGHTS, **changes)


@given(st.integers(0, len(WEIGHTS) - 1), st.integers(1, 255))
def test_weights_with_one_other_byte_are_refused(position: int, change: int) -> None:
    other = bytearray(WEIGHTS)
    other[position] ^= change
    with pytest.raises(ManifestError, match="changed or cut"):
        check_file(PLAIN, bytes(other))
    with pytest.raises(ManifestError, match=f"{position} bytes"):
        check_file(PLAIN, WEIGHTS[:position])
    check_file(PLAIN, WEIGHTS)
