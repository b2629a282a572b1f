"""GoogLeNet: Szegedy et al. 2015, Going deeper with convolutions, Table 1.

As the authors' Caffe net has it: ceil-mode pooling, LRN of Caffe, biases, no normalization.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import (
    LRN,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    logits,
)
from tlkit.nets._spec import Net, Options

AUXILIARY_WEIGHT = 0.3  # of each auxiliary loss in the sum, section 5


@dataclass(frozen=True)
class Inception:
    """Figure 2(b): four branches side by side. Fields: the columns of Table 1."""

    n1x1: int
    n3x3_reduce: int
    n3x3: int
    n5x5_reduce: int
    n5x5: int
    pool_proj: int

    def __call__(self, x, name, options):
        three = Conv(self.n3x3_reduce, 1)(x, f"{name}_3x3_reduce", options)
        five = Conv(self.n5x5_reduce, 1)(x, f"{name}_5x5_reduce", options)
        pool = MaxPool(3, 1, pad="same")(x, f"{name}_pool", options)
        branches = (
            Conv(self.n1x1, 1)(x, f"{name}_1x1", options),
            Conv(self.n3x3, 3)(three, f"{name}_3x3", options),
            Conv(self.n5x5, 5)(five, f"{name}_5x5", options),
            Conv(self.pool_proj, 1)(pool, f"{name}_pool_proj", options),
        )
        return layers.Concatenate(name=name)(branches)


@dataclass(frozen=True)
class NaiveInception:
    """Figure 2(a): no 1x1 reductions, so the depth grows by that of the input in every module."""

    n1x1: int
    n3x3: int
    n5x5: int

    def __call__(self, x, name, options):
        branches = (
            Conv(self.n1x1, 1)(x, f"{name}_1x1", options),
            Conv(self.n3x3, 3)(x, f"{name}_3x3", options),
            Conv(self.n5x5, 5)(x, f"{name}_5x5", options),
            MaxPool(3, 1, pad="same")(x, f"{name}_pool", options),
        )
        return layers.Concatenate(name=name)(branches)


POOL = MaxPool(3, 2, ceil=True)
CAFFE_LRN = LRN(5, k=1.0, alpha=2e-5)  # prints 1e-4, divides it by the window of 5

# fmt: off
TABLE = (
    ("conv1", Conv(64, 7, 2, pad=3)),
    ("pool1", POOL),
    ("norm1", CAFFE_LRN),
    ("conv2_reduce", Conv(64, 1)),
    ("conv2", Conv(192, 3)),
    ("norm2", CAFFE_LRN),
    ("pool2", POOL),
    #                          #1x1  #3x3r  #3x3  #5x5r  #5x5  proj
    ("inception_3a", Inception(  64,    96,  128,    16,   32,   32)),
    ("inception_3b", Inception( 128,   128,  192,    32,   96,   64)),
    ("pool3", POOL),
    ("inception_4a", Inception( 192,    96,  208,    16,   48,   64)),
    ("inception_4b", Inception( 160,   112,  224,    24,   64,   64)),
    ("inception_4c", Inception( 128,   128,  256,    24,   64,   64)),
    ("inception_4d", Inception( 112,   144,  288,    32,   64,   64)),
    ("inception_4e", Inception( 256,   160,  320,    32,  128,  128)),
    ("pool4", POOL),
    ("inception_5a", Inception( 256,   160,  320,    32,  128,  128)),
    ("inception_5b", Inception( 384,   192,  384,    48,  128,  128)),
)
# fmt: on
HEADS = {"inception_4a": "aux1", "inception_4d": "aux2"}


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 7x7 map; the naive variant drops the reducing columns."""
    for name, row in TABLE:
        if variant == "naive" and isinstance(row, Inception):
            yield name, NaiveInception(row.n1x1, row.n3x3, row.n5x5)
        else:
            yield name, row


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool5", GlobalAvgPool()
    yield "drop5", Dropout(0.4)
    yield "fc", logits(classes)


def auxiliary(variant: str, classes: int) -> dict[str, tuple]:
    """Returns the two heads of section 5, each trained with weight `AUXILIARY_WEIGHT`."""
    return {row: _head(name, classes) for row, name in HEADS.items()} if variant == "aux" else {}


def _head(name, classes):
    return (
        (f"{name}_pool", AvgPool(5, 3, ceil=True)),
        (f"{name}_conv", Conv(128, 1)),
        (f"{name}_flatten", Flatten()),
        (f"{name}_fc1", Dense(1024)),
        (f"{name}_drop", Dropout(0.7)),
        (f"{name}_fc2", logits(classes)),
    )


def _net(variant, params, macs, activations, oracle, error=None):
    return Net(
        variant=variant,
        year=2014,
        source="Szegedy et al. 2015, Going deeper with convolutions, Table 1",
        oracle=oracle,
        params=params,
        macs=macs,
        activation_bytes=activations,
        error=error,
        pixels="caffe",
        options=Options(init="glorot"),
        stages=(
            ("conv1", "norm1"),
            ("conv2", "pool2"),
            ("inception_3", "pool3"),
            ("inception_4", "pool4"),
            ("inception_5", "inception_5b"),
        ),
    )


_ERROR = "31.3 / 11.1 % (BVLC, centre crop)"
NETS = {
    "googlenet": _net(
        "plain", 6_998_552, 1_582_671_872, 22_396_000, "BVLC deploy.prototxt", _ERROR
    ),
    "googlenet-aux": _net(
        "aux", 13_378_280, 1_591_044_096, 22_495_136, "BVLC train_val.prototxt", _ERROR
    ),
    "googlenet-naive": _net(
        "naive",
        97_526_008,
        12_568_061_056,
        27_404_192,
        "closed form in tests/test_nets_googlenet.py",
    ),
}
