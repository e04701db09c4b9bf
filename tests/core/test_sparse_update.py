"""SparseUpdate's schemes: the published ones, their memory, and what they update."""

import pytest

from tests.conftest import random_backbone
from tests.core.test_methods import SMALL, problem
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.engine.update import Update
from tinytrain_core.errors import ConfigurationError
from tinytrain_core.selection.methods import method_by_name
from tinytrain_core.selection.methods.sparse_update import Scheme, SparseUpdate, planned, published_schemes
from tinytrain_core.selection.scheme_memory import KIB, scheme_bytes


# The names that their authors gave the schemes: KiB, cut off behind the point.
@pytest.mark.parametrize(
    ("architecture", "name"), [(a, name) for a, schemes in published_schemes().items() for name in schemes]
)
def test_published_schemes_have_the_memory_that_they_are_named_after(architecture: str, name: str) -> None:
    scheme = published_schemes()[architecture][name]
    assert f"{int(scheme_bytes(load_spec(architecture), scheme) / KIB)}kb" == name


def test_there_are_fifteen_published_schemes() -> None:
    assert {name: len(schemes) for name, schemes in published_schemes().items()} == dict.fromkeys(
        ("mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3"), 5
    )


def test_sparse_update_takes_the_inputs_of_largest_weights() -> None:
    backbone = random_backbone(SMALL)
    plan = planned(backbone, Scheme(3, {9: 0.25, 13: 0.5, 10: 0.125}))
    assert list(plan.updates) == [9, 10, 12, 13, 14, 15]
    conv = SMALL.convs[9]
    norms = backbone.weights[9].square().sum((0, 2, 3))
    assert plan.updates[9] == Update(tuple(range(conv.out_channels)), tuple(sorted(norms.argsort()[-3:].tolist())))
    assert plan.updates[10].inputs is None
    assert len(plan.updates[10].outputs) == round(0.125 * SMALL.convs[10].in_channels)
    assert [plan.updates[i].inputs for i in (12, 14, 15)] == [(), (), ()]  # the mix comes on top of the last three


def test_a_scheme_survives_its_text() -> None:
    scheme = published_schemes()["mcunet-5fps"]["99kb"]
    method = method_by_name(f"sparse_update:{scheme}")
    assert isinstance(method, SparseUpdate)
    assert method.scheme_for(load_spec("mcunet-5fps")) == scheme
    for odd in (Scheme(3, {}), Scheme(0, {5: 0.5}), Scheme(0, {})):
        again = method_by_name(f"sparse_update:{odd}")
        assert isinstance(again, SparseUpdate)
        assert again.scheme_for(SMALL) == odd


def test_a_backbone_without_a_published_scheme_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="sparse-search"):
        method_by_name("sparse_update").plan(problem())
