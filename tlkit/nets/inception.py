"""BN-Inception: Ioffe and Szegedy 2015, Figure 5. Inception-v3: Szegedy et al. 2016, Table 1.

Both as released in slim: SAME padding in BN-Inception, and v3 with the modules of its Figures 5, 6
and 7. The released v3 normalizes without gamma.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras import layers

from tlkit.nets._branches import Branches, branches
from tlkit.nets._rows import (
    AvgPool,
    Conv,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    finish,
    initializer,
    logits,
    widened,
)
from tlkit.nets._spec import Net, Options

AUXILIARY_WEIGHT = 0.4  # torchvision and slim; the paper names none
MEAN = AvgPool(3, 1, pad="same")
HALVE = MaxPool(3, 2)


@dataclass(frozen=True)
class SeparableStem:
    """One spatial filter bank per input channel, then 1x1: the first layer of slim's BN-Inception,
    which has a bias and no normalization."""

    filters: int
    size: int
    stride: int
    multiplier: int
    norm: bool = False
    activation: str | None = None

    def __call__(self, x, name, options):
        layer = layers.SeparableConv2D(
            widened(self.filters, self.activation, options),
            self.size,
            self.stride,
            padding="same",
            depth_multiplier=self.multiplier,
            depthwise_initializer=initializer(options),
            pointwise_initializer=initializer(options),
            name=name,
        )
        return finish(layer, x, self, options)


def double(n1x1, n3x3_reduce, n3x3, ndouble_reduce, ndouble, pool, pool_proj) -> Branches:
    """Returns a module of BN-Inception, Figure 5 of Ioffe and Szegedy: two 3x3 for the 5x5."""
    return branches(
        Conv(n1x1, 1),
        (Conv(n3x3_reduce, 1), Conv(n3x3, 3)),
        (Conv(ndouble_reduce, 1), Conv(ndouble, 3), Conv(ndouble, 3)),
        (MEAN if pool == "avg" else MaxPool(3, 1, pad="same"), Conv(pool_proj, 1)),
    )


def halving(n3x3_reduce, n3x3, ndouble_reduce, ndouble) -> Branches:
    """Returns a module with stride 2, whose pooled input passes through."""
    return branches(
        (Conv(n3x3_reduce, 1), Conv(n3x3, 3, 2)),
        (Conv(ndouble_reduce, 1), Conv(ndouble, 3), Conv(ndouble, 3, 2)),
        MaxPool(3, 2, pad="same"),
    )


def figure5(pool_proj: int) -> Branches:
    """Returns a 35x35 module of v3, with a 5x5 left as in slim."""
    return branches(
        Conv(64, 1),
        (Conv(48, 1), Conv(64, 5)),
        (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
        (MEAN, Conv(pool_proj, 1)),
    )


def figure6(n: int) -> Branches:
    """Returns a 17x17 module of v3: 7x7 as 1x7 and 7x1."""
    return branches(
        Conv(192, 1),
        (Conv(n, 1), Conv(n, (1, 7)), Conv(192, (7, 1))),
        (Conv(n, 1), Conv(n, (7, 1)), Conv(n, (1, 7)), Conv(n, (7, 1)), Conv(192, (1, 7))),
        (MEAN, Conv(192, 1)),
    )


FORK = branches(Conv(384, (1, 3)), Conv(384, (3, 1)))
FIGURE7 = branches(
    Conv(320, 1),
    (Conv(384, 1), FORK),
    (Conv(448, 1), Conv(384, 3), FORK),
    (MEAN, Conv(192, 1)),
)

# fmt: off
BN_INCEPTION = (
    ("conv1", SeparableStem(64, 7, 2, multiplier=8)),
    ("pool1", MaxPool(3, 2, pad="same")),
    ("conv2_reduce", Conv(64, 1)),
    ("conv2", Conv(192, 3)),
    ("pool2", MaxPool(3, 2, pad="same")),
    #                       #1x1  #3x3r #3x3  d3x3r d3x3   pool + proj
    ("inception_3a", double(  64,   64,   64,   64,   96, "avg",  32)),
    ("inception_3b", double(  64,   64,   96,   64,   96, "avg",  64)),
    ("inception_3c", halving(      128,  160,   64,   96)),
    ("inception_4a", double( 224,   64,   96,   96,  128, "avg", 128)),
    ("inception_4b", double( 192,   96,  128,   96,  128, "avg", 128)),
    ("inception_4c", double( 160,  128,  160,  128,  160, "avg",  96)),
    ("inception_4d", double(  96,  128,  192,  160,  192, "avg",  96)),
    ("inception_4e", halving(      128,  192,  192,  256)),
    ("inception_5a", double( 352,  192,  320,  160,  224, "avg", 128)),
    ("inception_5b", double( 352,  192,  320,  192,  224, "max", 128)),
)

INCEPTION_V3 = (
    ("conv1", Conv(32, 3, 2, pad="valid")),
    ("conv2", Conv(32, 3, pad="valid")),
    ("conv3", Conv(64, 3)),
    ("pool3", HALVE),
    ("conv4", Conv(80, 1)),
    ("conv5", Conv(192, 3, pad="valid")),
    ("pool5", HALVE),
    ("mixed0", figure5(32)),
    ("mixed1", figure5(64)),
    ("mixed2", figure5(64)),
    ("mixed3", branches(
        Conv(384, 3, 2, pad="valid"),
        (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2, pad="valid")),
        HALVE,
    )),
    ("mixed4", figure6(128)),
    ("mixed5", figure6(160)),
    ("mixed6", figure6(160)),
    ("mixed7", figure6(192)),
    ("mixed8", branches(
        (Conv(192, 1), Conv(320, 3, 2, pad="valid")),
        (Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2, pad="valid")),
        HALVE,
    )),
    ("mixed9", FIGURE7),
    ("mixed10", FIGURE7),
)
# fmt: on
TABLE = {"bn": BN_INCEPTION, "v3": INCEPTION_V3, "v3-aux": INCEPTION_V3}


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the last map: 7x7 (BN-Inception, 224 pixels), 8x8 (v3, 299)."""
    yield from TABLE[variant]


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits; the dropout is slim's."""
    yield "pool", GlobalAvgPool()
    yield "drop", Dropout(0.2)
    yield "fc", logits(classes)


def auxiliary(variant: str, classes: int) -> dict[str, tuple]:
    """Returns the head of section 4 of the v3 paper on the last 17x17 map, as in slim."""
    if variant != "v3-aux":
        return {}
    head = (
        ("aux_pool", AvgPool(5, 3)),
        ("aux_conv1", Conv(128, 1)),
        ("aux_conv2", Conv(768, 5, pad="valid")),
        ("aux_mean", GlobalAvgPool()),
        ("aux_fc", logits(classes)),
    )
    return {"mixed7": head}


_BN_STAGES = ("pool1", "pool2", "inception_3c", "inception_4e", "inception_5b")
_V3_STAGES = ("pool3", "pool5", "mixed2", "mixed7", "mixed10")
_STAGE_NAMES = ("conv1", "conv2", "grid1", "grid2", "grid3")
_V3: dict[str, Any] = {
    "year": 2015,
    "source": "Szegedy et al. 2016, Rethinking the Inception architecture, Table 1",
    "macs": 5_713_216_096,
    "activation_bytes": 47_799_116,
    "error": "22.1 / 6.3 % (keras.io)",
    "input_shape": (299, 299, 3),
    "pixels": "tf",
    "options": Options(norm="batch", scale=False),
    "stages": tuple(zip(_STAGE_NAMES, _V3_STAGES, strict=True)),
}
NETS = {
    "bn-inception": Net(
        variant="bn",
        year=2015,
        source="Ioffe and Szegedy 2015, Batch normalization, Figure 5",
        oracle="soeaver/caffe-model deploy_inception-v2.prototxt, multiply-adds by area from 231 pixels",
        params=11_188_224,
        total=11_208_000,
        macs=1_934_857_216,
        activation_bytes=20_887_584,
        error="26.1 / 8.2 % (slim)",
        pixels="tf",
        options=Options(norm="batch"),
        stages=tuple(zip(_STAGE_NAMES, _BN_STAGES, strict=True)),
    ),
    "inception-v3": Net(
        variant="v3", oracle="keras.applications", params=23_817_352, total=23_851_784, **_V3
    ),
    # torchvision has 18,112 gammas more, and counts multiply-adds without the head: its two
    # convolutions have 2,457,600 each and its dense layer 768,000.
    "inception-v3-aux": Net(
        variant="v3-aux",
        oracle="torchvision, without gamma",
        params=27_143_152,
        total=27_179_376,
        **{**_V3, "macs": 5_713_216_096 + 5_683_200, "activation_bytes": 47_898_860},
    ),
}
