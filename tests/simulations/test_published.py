from statistics import fmean

import pytest

from simulations.studies import published
from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.devices.profile import device_profile
from tinytrain_core.selection.cost import MIB
from tinytrain_core.selection.methods import method_by_name

DOMAINS = ("GTSRB", "Omniglot", "Aircraft", "Flower", "CUB", "DTD", "QuickDraw", "Fungi", "COCO")
ROUNDING = 0.1001  # of nine figures with one digit, and of their printed mean


def test_an_average_is_that_of_the_nine_domains():
    for backbone in published.backbones():
        for method in published.TITLES:
            values = [published.accuracy(backbone, method, data) for data in DOMAINS]
            assert fmean(values) == pytest.approx(published.accuracy(backbone, method, "average"), abs=ROUNDING)


def test_some_figures_as_they_are_printed():
    assert published.accuracy("mcunet-5fps", "tinytrain", "average") == 69.3
    assert published.accuracy("mbv2-w0.35", "adapter_drop:share=75", "GTSRB") == 56.0
    assert published.accuracy("proxyless-w0.3", "none", "QuickDraw") == 47.3
    assert str(published.cost("mbv2-w0.35", "last_layer").backward_mmacs) == "0.80"
    assert published.latency("mcunet-5fps", "full_train").minutes == 90.2
    assert published.ablation().with_meta_training["sparse_update"] == 68.9


def test_what_the_paper_does_not_have_is_none():
    assert published.accuracy("mbv2-w0.35-nomix", "tinytrain", "average") is None
    assert published.accuracy("mcunet-5fps", "tinytrain:ratio=1", "average") is None
    assert published.accuracy("mcunet-5fps", "tinytrain", "MNIST") is None
    assert published.cost("mcunet-5fps", "adapter_drop:share=50") is None
    assert published.latency("mcunet-5fps", "none") is None


def test_names_are_those_of_this_project():
    for backbone in published.backbones():
        assert load_spec(backbone).name == backbone
    for method in published.TITLES:
        method_by_name(method)
    assert published.title("sparse_update") == "SparseUpdate"
    assert published.title("of_ours") == "of_ours"


def test_the_fit_and_the_catalogue_agree_on_the_device():
    model, profile = published.latency_model(), device_profile("pi_zero_2w")
    assert model.device == profile.name
    assert profile.memory_bytes == model.usable_mib * MIB
    assert profile.active_w.value == model.active_w
    assert profile.macs_per_s.value == max(model.macs_per_s.values())
