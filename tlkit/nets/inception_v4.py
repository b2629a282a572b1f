"""Inception-v4 and Inception-ResNet: Szegedy et al. 2017, Figures 3 to 19.

"inception-resnet-v2" is the net whose weights were released (slim, Keras, timm: a stem as in v3,
10/20/10 blocks); "-drawn" is the one the paper's figures show (the stem of v4, 5/10/5 blocks).
"""

from collections.abc import Iterator

from tlkit.nets._branches import Branches, ScaledResidual, branches, repeated
from tlkit.nets._rows import AvgPool, Conv, Dropout, GlobalAvgPool, MaxPool, logits
from tlkit.nets._spec import Net, Options

MEAN = AvgPool(3, 1, pad="same")
HALVE = MaxPool(3, 2)


def halving(filters: int, size: int = 3) -> Conv:
    """Returns a convolution with stride 2 and no padding ("V" in the figures)."""
    return Conv(filters, size, 2, pad="valid")


def reduction_a(k: int, l: int, m: int, n: int) -> Branches:  # noqa: E741 (the letters of Table 1)
    """Returns Figure 7: 35x35 to 17x17."""
    return branches(halving(n), (Conv(k, 1), Conv(l, 3), halving(m)), HALVE)


def reduction_b(first: int, second: int, third: int) -> Branches:
    """Returns Figures 13 and 18: 17x17 to 8x8 in the residual nets."""
    return branches(
        (Conv(256, 1), halving(384)),
        (Conv(256, 1), halving(first)),
        (Conv(256, 1), Conv(second, 3), halving(third)),
        HALVE,
    )


def block_a(last: tuple[int, int]) -> ScaledResidual:
    """Returns Figures 10 and 16: 35x35."""
    third = (Conv(32, 1), *(Conv(filters, 3) for filters in last))
    return ScaledResidual(branches(Conv(32, 1), (Conv(32, 1), Conv(32, 3)), third), scale=0.17)


def block_b(first: int, wide: int, tall: int) -> ScaledResidual:
    """Returns Figures 11 and 17: 17x17."""
    second = (Conv(128, 1), Conv(wide, (1, 7)), Conv(tall, (7, 1)))
    return ScaledResidual(branches(Conv(first, 1), second), scale=0.1)


def block_c(wide: int, tall: int, scale: float = 0.2, activation: str | None = None):
    """Returns Figures 13 and 19: 8x8."""
    second = (Conv(192, 1), Conv(wide, (1, 3)), Conv(tall, (3, 1)))
    return ScaledResidual(branches(Conv(192, 1), second), scale, activation)


# Branches stand in the order in which slim and Keras concatenate them.
# fmt: off
STEM = (("conv1", halving(32)), ("conv2", Conv(32, 3, pad="valid")), ("conv3", Conv(64, 3)))
STEM_V4 = (  # Figure 3
    *STEM,
    ("stem1", branches(HALVE, halving(96))),
    ("stem2", branches(
        (Conv(64, 1), Conv(96, 3, pad="valid")),
        (Conv(64, 1), Conv(64, (7, 1)), Conv(64, (1, 7)), Conv(96, 3, pad="valid")),
    )),
    ("stem3", branches(halving(192), HALVE)),
)
STEM_V1 = (  # Figure 14; v3 and the released v2 begin in the same way
    *STEM,
    ("pool3", HALVE),
    ("conv4", Conv(80, 1)),
    ("conv5", Conv(192, 3, pad="valid")),
)
INCEPTION_A = branches(  # Figure 4
    Conv(96, 1),
    (Conv(64, 1), Conv(96, 3)),
    (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
    (MEAN, Conv(96, 1)),
)
INCEPTION_B = branches(  # Figure 5
    Conv(384, 1),
    (Conv(192, 1), Conv(224, (1, 7)), Conv(256, (7, 1))),
    (Conv(192, 1), Conv(192, (1, 7)), Conv(224, (7, 1)), Conv(224, (1, 7)), Conv(256, (7, 1))),
    (MEAN, Conv(128, 1)),
)
FORK = branches(Conv(256, (1, 3)), Conv(256, (3, 1)))
INCEPTION_C = branches(  # Figure 6
    Conv(256, 1),
    (Conv(384, 1), FORK),
    (Conv(384, 1), Conv(448, (1, 3)), Conv(512, (3, 1)), FORK),
    (MEAN, Conv(256, 1)),
)
REDUCTION_B = branches(  # Figure 8
    (Conv(192, 1), halving(192)),
    (Conv(256, 1), Conv(256, (1, 7)), Conv(320, (7, 1)), halving(320)),
    HALVE,
)
MIXED_5B = branches(  # only in the released v2
    Conv(96, 1),
    (Conv(48, 1), Conv(64, 5)),
    (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
    (MEAN, Conv(64, 1)),
)
TABLE = {
    "v4": (
        *STEM_V4,
        *repeated("inception_a", INCEPTION_A, 4),
        #                           k    l    m    n
        ("reduction_a", reduction_a(192, 224, 256, 384)),
        *repeated("inception_b", INCEPTION_B, 7),
        ("reduction_b", REDUCTION_B),
        *repeated("inception_c", INCEPTION_C, 3),
    ),
    "resnet-v1": (
        *STEM_V1,
        ("conv6", halving(256)),
        *repeated("block_a", block_a((32, 32)), 5),
        ("reduction_a", reduction_a(192, 192, 256, 384)),
        *repeated("block_b", block_b(128, 128, 128), 10),
        ("reduction_b", reduction_b(256, 256, 256)),
        *repeated("block_c", block_c(192, 192), 5),
    ),
    "resnet-v2-drawn": (
        *STEM_V4,
        *repeated("block_a", block_a((48, 64)), 5),
        ("reduction_a", reduction_a(256, 256, 384, 384)),  # 1152 maps; Figure 17 prints 1154
        *repeated("block_b", block_b(192, 160, 192), 10),
        ("reduction_b", reduction_b(288, 288, 320)),  # 2144 maps; Figure 19 prints 2048
        *repeated("block_c", block_c(224, 256), 5),
    ),
    "resnet-v2": (
        *STEM_V1,
        ("pool5", HALVE),
        ("mixed_5b", MIXED_5B),
        *repeated("block_a", block_a((48, 64)), 10),
        ("reduction_a", reduction_a(256, 256, 384, 384)),
        *repeated("block_b", block_b(192, 160, 192), 20),
        ("reduction_b", reduction_b(288, 288, 320)),
        *repeated("block_c", block_c(224, 256), 9),
        ("block_c_10", block_c(224, 256, scale=1.0, activation="linear")),
        ("conv7", Conv(1536, 1)),
    ),
}
# fmt: on


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 8x8 map (of a 299-pixel image)."""
    yield from TABLE[variant]


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits; Figure 9 keeps 0.8."""
    yield "pool", GlobalAvgPool()
    yield "drop", Dropout(0.2)
    yield "fc", logits(classes)


def _net(variant, numbers, oracle, ends, error=None, scale=True):
    params, total, macs, activations = numbers
    names = ("stem", "grid1", "grid2", "grid3")
    return Net(
        variant=variant,
        year=2016,
        source="Szegedy et al. 2017, Inception-v4, Inception-ResNet and the impact of residuals",
        oracle=oracle,
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        error=error,
        input_shape=(299, 299, 3),
        pixels="tf",
        options=Options(norm="batch", scale=scale),
        stages=tuple(zip(names, ends, strict=True)),
    )


# fmt: off
NETS = {
    #                              trainable   with statistics  multiply-adds  activations
    "inception-v4": _net("v4",    (42_679_816, 42_742_984, 12_253_974_624, 81_443_020), "timm, prototxt",
        ("stem3", "inception_a_4", "inception_b_7", "inception_c_3"), "19.8 / 4.7 % (slim weights, Cadene)"),
    "inception-resnet-v1": _net("resnet-v1", (22_756_328, 22_783_368, 6_206_361_696, 55_508_108), "hand count",
        ("conv6_act", "block_a_5_act", "block_b_10_act", "block_c_5_act")),
    "inception-resnet-v2-drawn": _net("resnet-v2-drawn", (32_433_928, 32_466_792, 9_257_953_632, 72_679_308), "hand count",
        ("stem3", "block_a_5_act", "block_b_10_act", "block_c_5_act")),
    # The released net normalizes without gamma: timm, which has it, counts 30,272 more.
    "inception-resnet-v2": _net("resnet-v2", (55_813_192, 55_873_736, 13_155_794_016, 105_213_132), "keras.applications",
        ("pool5", "block_a_10_act", "block_b_20_act", "conv7_act"), "19.7 / 4.7 % (keras.io)", scale=False),
}
# fmt: on
