"""LeNets: LeCun et al. 1989 (zip codes), 1990 (LeNet-1) and 1998 (LeNet-5), and Caffe's.

All end in logits: the tanh of the 1989 outputs, made for a squared error, is left to the loss.
"""

from dataclasses import dataclass

from tlkit import layers as own
from tlkit.errors import TlkitError
from tlkit.nets._rows import (
    Activation,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    MaxPool,
    Norm,
    finish,
    initializer,
    logits,
)
from tlkit.nets._spec import Net, Options


@dataclass(frozen=True)
class SparseConv:
    """5x5 convolution whose filter f reads only the maps `maps[f]`."""

    maps: tuple[tuple[int, ...], ...]
    stride: int = 1
    bias: bool = True
    norm: bool = True
    activation: str | None = None

    def __call__(self, x, name, options):
        if (self.activation or options.activation) == "maxout":
            raise TlkitError(
                f"Maxout does not fit {name!r}: its table wires {len(self.maps)} single maps. "
                "Choose another activation, or a net whose maps are all connected."
            )
        layer = own.SparselyConnectedConv2D(
            self.maps, 5, self.stride, self.bias, initializer(options), name=name
        )
        return finish(layer, x, self, options)


@dataclass(frozen=True)
class UntiedBias:
    """One bias per unit, normalization, activation: the rest of a layer of 1989."""

    def __call__(self, x, name, options):
        x = own.UntiedBias(name=name)(x)
        return Activation()(Norm()(x, name, options), name, options)


@dataclass(frozen=True)
class Border:
    """Rows and columns of -1, the background, around a map whose values lie in -1..1."""

    width: int

    def __call__(self, x, name, options):
        return own.ConstantPadding2D(self.width, -1.0, name=name)(x)


@dataclass(frozen=True)
class Subsampling:
    """Sum of 2x2 values, times a weight, plus a bias, then the activation."""

    def __call__(self, x, name, options):
        return Activation()(own.TrainableSubsampling2D(2, name=name)(x), name, options)


@dataclass(frozen=True)
class DigitDistance:
    """Minus the squared distance to each class's drawing."""

    classes: int

    def __call__(self, x, name, options):
        return own.DigitDistance(self.classes, name=name)(x)


# LeCun et al. 1989: H2 reads 8 of the 12 maps; which ones is not printed. Three overlapping groups.
H2 = (tuple(range(8)),) * 4 + (tuple(range(4, 12)),) * 4 + ((0, 1, 2, 3, 8, 9, 10, 11),) * 4

# LeCun et al. 1998, Table I, by columns.
C3 = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


def valid(filters, **options):
    return Conv(filters, 5, pad="valid", **options)


def bare(filters):
    return Conv(filters, 5, stride=2, pad="valid", norm=False, activation="linear", bias=False)


# fmt: off
TABLE = {
    "1989": (
        ("h1_pad", Border(2)), ("h1", bare(12)), ("h1_bias", UntiedBias()),
        ("h2_pad", Border(2)), ("h2", SparseConv(H2, 2, False, False, "linear")), ("h2_bias", UntiedBias()),
        ("flatten", Flatten()), ("h3", Dense(30)),
    ),
    "1": (
        ("h1", valid(4)), ("h2", AvgPool(2)), ("h3", valid(12)), ("h4", AvgPool(2)), ("flatten", Flatten()),
    ),
    "5": (
        ("c1", valid(6)), ("s2", Subsampling()), ("c3", SparseConv(C3)), ("s4", Subsampling()),
        ("c5", valid(120)), ("flatten", Flatten()), ("f6", Dense(84)),
    ),
    "5-modern": (
        ("c1", valid(6)), ("s2", MaxPool(2)), ("c3", valid(16)), ("s4", MaxPool(2)),
        ("c5", valid(120)), ("flatten", Flatten()), ("f6", Dense(84)),
    ),
    "caffe": (  # its convolutions have no activation
        ("conv1", valid(20, activation="linear")), ("pool1", MaxPool(2)),
        ("conv2", valid(50, activation="linear")), ("pool2", MaxPool(2)),
        ("flatten", Flatten()), ("ip1", Dense(500)),
    ),
}
# fmt: on

LAST = {"1989": "out", "1": "out", "5": "rbf", "5-dense": "out", "5-modern": "out", "caffe": "ip2"}
STAGES = {
    "1989": (("h1", "h1_bias_act"), ("h2", "h2_bias_act"), ("h3", "h3_act")),
    "1": (("h1", "h2"), ("h3", "flatten")),
    "5": (("c1", "s2_act"), ("c3", "s4_act"), ("c5", "c5_act"), ("f6", "f6_act")),
    "5-modern": (("c1", "s2"), ("c3", "s4"), ("c5", "c5_act"), ("f6", "f6_act")),
    "caffe": (("conv1", "pool1"), ("conv2", "pool2"), ("ip1", "ip1_act")),
}


def features(variant):
    yield from TABLE[variant.removesuffix("-dense")]


def top(variant, classes):
    last = DigitDistance(classes) if variant == "5" else logits(classes)
    yield LAST[variant], last


def _net(variant, params, macs, memory, oracle, **known):
    return Net(
        **{
            "variant": variant,
            "year": 1998,
            "source": "LeCun et al. 1998, section II.B",
            "oracle": oracle,
            "params": params,
            "macs": macs,
            "activation_bytes": memory,
            "input_shape": (32, 32, 1),
            "classes": 10,
            "pixels": "tf",
            "options": Options(activation="scaled-tanh", init="historic", historic="lecun-2.4"),
            "stages": STAGES[variant.removesuffix("-dense")],
            **known,
        }
    )


_MAPS = "by hand: C1 117,600 + C3 60 x 25 x 100 + C5 48,000 + F6 10,080"
_MODERN = Options(init="he", historic="lecun-2.4")

NETS = {
    "lenet-1989": _net(
        "1989", 9_760, 63_660, 5_024, "paper, and karpathy/lecun1989-repro; multiply-adds by hand: "
        "64,660 - 1,000 biases", connections=64_660, year=1989, input_shape=(16, 16, 1),
        source="LeCun et al. 1989, section 3", error="5.0 % zip codes (paper)",
        options=Options(activation="tanh", init="historic", historic="lecun-2.4"),
    ),
    "lenet-1": _net(
        "1", 3_246, 136_320, 18_536, "hand count; multiply-adds by hand: 576 x 4 x 25 + 64 x 12 x 100 + 192 x 10",
        year=1990, input_shape=(28, 28, 1), source="LeCun et al. 1998, section III.C",
    ),
    "lenet-5": _net(
        "5", 60_000, 325_680, 36_472, f"paper; multiply-adds {_MAPS}", total=60_840, connections=340_908,
        error="0.8 % MNIST, with distortions (paper)",
    ),
    "lenet-5-dense": _net(
        "5-dense", 60_850, 326_520, 36_472, f"by hand: paper's 60,000 + 84 x 10 + 10; multiply-adds {_MAPS} + 840",
    ),
    "lenet-5-modern": _net(
        "5-modern", 61_706, 416_520, 36_472, "hand count, all maps of C3 connected", options=_MODERN, pixels="unit",
    ),
    "lenet-caffe": _net(
        "caffe", 431_080, 2_293_000, 78_776, "BVLC lenet.prototxt", year=2014, source="BVLC Caffe, examples/mnist",
        input_shape=(28, 28, 1), options=_MODERN, pixels="unit",
    ),
}  # fmt: skip
