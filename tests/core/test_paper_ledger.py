import pytest

from tinytrain_core.backbones.spec import load_spec
from tinytrain_core.engine.adapters import lite_shape
from tinytrain_core.engine.update import Extent, Share, rows
from tinytrain_core.selection import cost, paper_ledger
from tinytrain_core.selection.cost import MIB
from tinytrain_core.selection.methods.tinytl import adapted_blocks, with_branches


@pytest.mark.parametrize(
    ("name", "mib"), [("mcunet-5fps", "902.5"), ("mbv2-w0.35", "1045.1"), ("proxyless-w0.3", "854.3")]
)
def test_full_train_is_charged_for_every_input_of_a_hundred_images(name, mib):
    spec = load_spec(name)
    assert f"{paper_ledger.full_train_memory_bytes(spec) / MIB:.1f}" == mib
    one, two = (paper_ledger.full_train_memory_bytes(spec, batch) for batch in (1, 2))
    assert one - (two - one) == 16 * spec.weights


@pytest.mark.parametrize(
    ("name", "weights", "macs"),
    [("mcunet-5fps", 129_760, 2.92), ("mbv2-w0.35", 60_928, 1.48), ("proxyless-w0.3", 84_832, 2.67)],
)
def test_the_lite_residuals_of_tinytl(name, weights, macs):
    spec = load_spec(name)
    shapes = [lite_shape(spec, block) for block in adapted_blocks(spec)]
    assert sum(shape.weights for shape in shapes) == weights
    assert round(sum(shape.macs for shape in shapes) / 1e6, 2) == macs


def test_saved_inputs_and_masks_by_hand():
    spec = load_spec("mcunet-5fps")
    last = spec.convs[-1]
    extent = rows(spec, {last.index: last.out_channels})
    copies = 16 * (last.weights + last.out_channels)
    expected = copies + cost.forward_peak_bytes(spec) + 4 * last.in_elements  # pw2 has no ReLU6 behind it
    assert paper_ledger.saving_memory_bytes(spec, extent) == expected
    assert f"{expected / MIB:.2f}" == "2.07"


def test_biases_save_masks_and_no_input():
    spec = load_spec("mcunet-5fps")
    block = [conv for conv in spec.convs if conv.block == spec.convs[-1].block]
    extent = Extent({conv.index: Share(conv.out_channels, 0) for conv in block})
    masks = sum(conv.out_elements for conv in block if conv.relu6) // 8
    copies = 16 * sum(conv.out_channels for conv in block)
    assert paper_ledger.saving_memory_bytes(spec, extent) == copies + cost.forward_peak_bytes(spec) + masks


def test_a_part_of_the_inputs_saves_that_part():
    spec = load_spec("mcunet-5fps")
    conv = next(c for c in reversed(spec.convs) if c.kind == "pw1")
    half = Extent({conv.index: Share(conv.out_channels, conv.in_channels // 2)})
    whole = Extent({conv.index: Share(conv.out_channels, conv.in_channels)})
    saved = [paper_ledger.saving_memory_bytes(spec, extent) for extent in (half, whole)]
    assert saved[1] - saved[0] == 4 * conv.in_elements // 2 + 16 * conv.weights // 2


def test_every_image_of_a_batch_is_charged_alike():
    spec = load_spec("proxyless-w0.3")
    extent = with_branches(spec, adapted_blocks(spec), 0).extent
    sizes = [paper_ledger.saving_memory_bytes(spec, extent, batch) for batch in (0, 1, 100)]
    assert sizes[0] == 16 * cost.updated_parameters(spec, extent)
    assert sizes[2] - sizes[0] == 100 * (sizes[1] - sizes[0])


def test_what_a_figure_of_the_paper_implies():
    printed = {"mcunet-5fps": 0.89, "mbv2-w0.35": 1.06, "proxyless-w0.3": 0.78}
    implied = [paper_ledger.implied_weights(load_spec(name), mib) for name, mib in printed.items()]
    assert implied == [17_367, 12_124, 18_350]
