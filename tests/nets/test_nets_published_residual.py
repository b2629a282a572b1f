"""Nets with shortcuts and depthwise layers: their published numbers, every layer as drawn."""

import pytest

from tests.published import residual
from tests.published.contract import assert_drawn, assert_published
from tlkit import nets

# At their published 224 pixels every side is even; on odd sides the two paddings differ.
ODD = {"mobilenet-v1": residual.mobilenet, "mobilenet-v2": residual.mobilenet_v2}

SLOW = ("resnet-1202", "densenet-bc-250-24", "densenet-bc-190-40")  # their siblings run by default
NAMES = [pytest.param(n, marks=pytest.mark.large) if n in SLOW else n for n in residual.NETS]


@pytest.mark.parametrize("name", NAMES)
def test_the_net_is_as_published(name):
    assert_published(name)


@pytest.mark.parametrize("name", ODD)
def test_padding_of_strides_on_odd_sides(name):
    model = nets.build(name, input_shape=(75, 75, 3), init="zeros")
    assert_drawn(model, ODD[name](75), nets.stages(name))
