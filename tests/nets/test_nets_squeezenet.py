"""SqueezeNet: map sizes, and torchvision's counts on 224 pixels."""

import pytest

from tlkit import nets
from tlkit.nets import _count


@pytest.mark.parametrize(("name", "macs", "padded"), [
    # The prototxt of 1.0 pads its last 1x1: 15 x 15 places instead of torchvision's 13 x 13.
    ("squeezenet-1.0", 818_924_576, 512 * 1000 * (15**2 - 13**2)),
    ("squeezenet-1.1", 349_151_936, 0),
])  # fmt: skip
def test_224_pixels_are_torchvisions(name, macs, padded):
    assert _count.macs(nets.build(name, input_shape=(224, 224, 3), init="zeros")) == macs + padded


def test_map_sizes_of_the_prototxt():
    model = nets.build("squeezenet-1.0", init="zeros")
    ends = {
        "conv1": (111, 96), "pool1": (55, 96), "fire4": (55, 256), "pool4": (27, 256),
        "fire8": (27, 512), "pool8": (13, 512), "fire9": (13, 512), "conv10": (15, 1000),
    }  # fmt: skip
    found = {name: model.get_layer(name).output.shape[2:] for name in ends}
    assert found == ends


def test_fire_squeezes_then_expands_in_two_ways():
    rows = {row["layer"]: row for row in nets.layer_table("squeezenet-1.1")}
    kinds = ("squeeze", "expand1", "expand3")
    found = [rows[f"fire2_{kind}"]["params"] for kind in kinds]
    assert found == [64 * 16 + 16, 16 * 64 + 64, 9 * 16 * 64 + 64]


def test_sizes_are_free():
    model = nets.build("squeezenet-1.1", input_shape=(64, 96, 1), classes=4, init="zeros")
    assert model.output_shape == (None, 4)


def test_layers_stand_in_the_order_of_the_released_weights():
    """Files of weights are read in this order, whatever the layers are called."""
    model = nets.features("squeezenet-1.1", input_shape=(64, 64, 3), init="zeros")
    fires = [f"fire{i}_{kind}" for i in range(2, 10) for kind in ("squeeze", "expand1", "expand3")]
    assert [layer.name for layer in model.layers if layer.weights] == ["conv1", *fires]
