"""Residual and plain nets for ImageNet: He et al. 2016, Deep residual learning, Table 1.

v1 puts the stride of a bottleneck in its first 1x1 (the paper, Caffe, Keras), v1.5 in its 3x3
(Torch, torchvision); v2 is the pre-activation net of He et al. 2016, Identity mappings. "-keras"
nets have a bias in every convolution, as the weights of keras.applications do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from keras import layers

from tlkit.errors import TlkitError
from tlkit.layers.channels import PadChannels
from tlkit.nets._rows import Activation, Conv, GlobalAvgPool, MaxPool, Norm, logits, widened
from tlkit.nets._spec import Net, Options

OPTIONS = Options(norm="batch", epsilon=1.001e-5)


@dataclass(frozen=True)
class Basic:
    """Two 3x3 convolutions. Shortcut, section 4.1: "A" pads with zeros, "B" projects where the
    shape changes, "C" projects always, "plain" has none."""

    filters: int = 0
    stride: int = 1
    shortcut: str = "B"
    bias: bool | None = None

    def __call__(self, x, name, options):
        y = conv3(self.filters, self.stride)(x, f"{name}_1", options)
        filters = widened(self.filters, None, options)  # maxout after it
        y = Conv(filters, 3, activation="linear")(y, f"{name}_2", options)
        return merge(x, y, self, name, options)


@dataclass(frozen=True)
class Bottleneck:
    """1x1, 3x3, 1x1 with four times the filters; `halving` is the convolution with the stride."""

    filters: int = 0
    stride: int = 1
    halving: int = 1
    shortcut: str = "B"
    bias: bool | None = None

    def __call__(self, x, name, options):
        strides = {self.halving: self.stride}
        y = Conv(self.filters, 1, strides.get(1, 1), bias=self.bias)(x, f"{name}_1", options)
        y = conv3(self.filters, strides.get(2, 1), bias=self.bias)(y, f"{name}_2", options)
        last = Conv(4 * self.filters, 1, activation="linear", bias=self.bias)
        return merge(x, last(y, f"{name}_3", options), self, name, options)


@dataclass(frozen=True)
class Bare:
    """Convolution alone, as in nets that normalize before it. It has a bias if `bias` is set or
    the options normalize no activations; "weight" normalizes its weights."""

    filters: int
    size: int
    stride: int = 1
    bias: bool = False

    def __call__(self, x, name, options):
        weight = options.norm == "weight"
        bias = self.bias or weight or options.norm == "none"
        kind = {"norm": weight, "activation": "linear", "bias": bias}
        return Conv(self.filters, self.size, self.stride, **kind)(x, name, options)


@dataclass(frozen=True)
class Preactivation:
    """Normalization, then activation: what pre-activation nets end with."""

    def __call__(self, x, name, options):
        return preactivate(x, name, options)


@dataclass(frozen=True)
class PreBottleneck:
    """Normalization and activation come first; the sum is left alone. As in Keras and slim, the
    last block of a group has the stride, and the projection reads the activated input."""

    filters: int = 0
    stride: int = 1
    project: bool = False

    def __call__(self, x, name, options):
        y = preactivate(x, f"{name}_0", options)
        wide = 4 * self.filters
        if self.project:
            x = Bare(wide, 1, self.stride, bias=True)(y, f"{name}_shortcut", options)
        else:
            x = subsample(x, self, name)
        y = Conv(self.filters, 1)(y, f"{name}_1", options)
        y = Conv(self.filters, 3, self.stride, pad=1)(y, f"{name}_2", options)
        y = Bare(wide, 1, bias=True)(y, f"{name}_3", options)
        return layers.Add(name=name)([x, y])


# fmt: off
TABLE: dict[str, tuple[Any, tuple[int, ...]]] = {
    #                                                  conv2_x ... conv5_x
    "plain-18":  (Basic(shortcut="plain"),             (2, 2, 2, 2)),
    "plain-34":  (Basic(shortcut="plain"),             (3, 4, 6, 3)),
    "18":        (Basic(),                             (2, 2, 2, 2)),
    "34":        (Basic(),                             (3, 4, 6, 3)),
    "34-a":      (Basic(shortcut="A"),                 (3, 4, 6, 3)),
    "34-c":      (Basic(shortcut="C"),                 (3, 4, 6, 3)),
    "50":        (Bottleneck(),                        (3, 4, 6, 3)),
    "101":       (Bottleneck(),                        (3, 4, 23, 3)),
    "152":       (Bottleneck(),                        (3, 8, 36, 3)),
    "50-v1.5":   (Bottleneck(halving=2),               (3, 4, 6, 3)),
    "101-v1.5":  (Bottleneck(halving=2),               (3, 4, 23, 3)),
    "152-v1.5":  (Bottleneck(halving=2),               (3, 8, 36, 3)),
    "50-keras":  (Bottleneck(bias=True),               (3, 4, 6, 3)),
    "101-keras": (Bottleneck(bias=True),               (3, 4, 23, 3)),
    "152-keras": (Bottleneck(bias=True),               (3, 8, 36, 3)),
    "50-v2":     (PreBottleneck(),                     (3, 4, 6, 3)),
    "101-v2":    (PreBottleneck(),                     (3, 4, 23, 3)),
    "152-v2":    (PreBottleneck(),                     (3, 8, 36, 3)),
}
# fmt: on
WIDTHS = (64, 128, 256, 512)


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the 7x7 map (of a 224-pixel image)."""
    block, counts = TABLE[variant]
    if isinstance(block, PreBottleneck):
        yield from _features_v2(counts)
        return
    yield "conv1", Conv(64, 7, 2, pad=3, bias=block.bias)
    yield "pool1", MaxPool(3, 2, pad=1)
    for group, (filters, count) in enumerate(zip(WIDTHS, counts, strict=True), start=2):
        yield from stack(block, f"conv{group}", filters, count, stride=1 if group == 2 else 2)


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool5", GlobalAvgPool()
    yield "fc", logits(classes)


def stack(block, name: str, filters: int, count: int, stride: int) -> Iterator[tuple]:
    """Yields `count` blocks, the first of them with the stride."""
    for index in range(1, count + 1):
        yield f"{name}_{index}", replace(block, filters=filters, stride=stride if index == 1 else 1)


def conv3(filters: int, stride: int, bias: bool | None = None) -> Conv:
    """Returns a 3x3 row that has zeros on every side, also where SAME would halve off-centre."""
    return Conv(filters, 3, stride, pad=1 if stride > 1 else "same", bias=bias)


def merge(x, y, block, name, options):
    """Adds the block's shortcut from `x` to `y` and activates the sum."""
    if block.shortcut != "plain":
        refuse_maxout(name, options)
        y = layers.Add(name=f"{name}_add")([_shortcut(x, y, block, name, options), y])
    return Activation()(y, name, options)


def refuse_maxout(name: str, options: Options) -> None:
    """Raises `TlkitError` if the activation is maxout, which changes the number of channels."""
    if options.activation == "maxout":
        raise TlkitError(
            f"Maxout halves the channels, and what is added in {name!r} must keep them. Choose "
            "another activation, or a net without sums, such as vgg-a or bn-inception."
        )


def preactivate(x, name, options):
    """Returns activation(normalization(x))."""
    return Activation()(Norm()(x, name, options), name, options)


def subsample(x, block, name):
    """Returns every `stride`-th value of `x`, without weights."""
    return layers.MaxPooling2D(1, block.stride, name=f"{name}_skip")(x) if block.stride > 1 else x


def _shortcut(x, y, block, name, options):
    same = block.stride == 1 and x.shape[-1] == y.shape[-1]
    if block.shortcut == "C" or (block.shortcut == "B" and not same):
        project = Conv(y.shape[-1], 1, block.stride, activation="linear", bias=block.bias)
        return project(x, f"{name}_shortcut", options)
    if same:
        return x
    return PadChannels(y.shape[-1], name=f"{name}_widen")(subsample(x, block, name))


def _features_v2(counts):
    yield "conv1", Conv(64, 7, 2, pad=3, norm=False, activation="linear", bias=True)
    yield "pool1", MaxPool(3, 2, pad=1)
    for group, (filters, count) in enumerate(zip(WIDTHS, counts, strict=True), start=2):
        for index in range(1, count + 1):
            stride = 2 if index == count and group < 5 else 1
            yield f"conv{group}_{index}", PreBottleneck(filters, stride, project=index == 1)
    yield "post", Preactivation()


def _stages(variant):
    block, counts = TABLE[variant]
    last = "" if isinstance(block, PreBottleneck) else "_act"
    ends = [f"conv{group}_{count}{last}" for group, count in enumerate(counts, start=2)]
    if not last:
        ends[-1] = "post_act"
    return (("conv1", "pool1"), *((f"conv{g}", end) for g, end in enumerate(ends, start=2)))


_HE = "He et al. 2016, Deep residual learning, Table 1"
_PREACT = "He et al. 2016, Identity mappings; strides as in slim"
_COUNTED = "hand count of Table 1"
_CLOSED = "closed form in tests/test_nets_resnet.py"
# fmt: off
_NUMBERS = {
    #             trainable   with statistics  multiply-adds  activations  pixels, oracle, published error (top-1 / top-5)
    "plain-18":  (11_515_688, 11_523_496,  1_794_805_760,  10_643_360, "torch", _COUNTED, None),
    "plain-34":  (21_623_848, 21_639_080,  3_644_493_824,  15_660_960, "torch", _COUNTED, None),
    "18":        (11_689_512, 11_699_112,  1_814_073_344,  11_345_824, "torch", "torchvision", "30.43 / 10.76 % (fb.resnet.torch, centre crop)"),
    "34":        (21_797_672, 21_814_696,  3_663_761_408,  16_363_424, "torch", "torchvision", "26.73 / 8.74 % (fb.resnet.torch, centre crop)"),
    "34-a":      (21_623_848, 21_639_080,  3_644_493_824,  16_012_192, "torch", "plain-34: shortcuts without weights", None),
    "34-c":      (22_716_840, 22_739_624,  3_830_747_136,  21_180_320, "torch", _CLOSED, None),
    "50":        (25_557_032, 25_610_152,  3_857_973_248,  43_765_664, "torch", "MSRA prototxt without the conv1 bias", "24.7 / 7.8 % (MSRA, centre crop)"),
    "101":       (44_549_160, 44_654_504,  7_570_194_432,  64_237_472, "torch", "MSRA prototxt", "23.6 / 7.1 % (MSRA, centre crop)"),
    "152":       (60_192_808, 60_344_232, 11_282_415_616,  89_526_176, "torch", "MSRA prototxt", "23.0 / 6.7 % (MSRA, centre crop)"),
    "50-v1.5":   (25_557_032, 25_610_152,  4_089_184_256,  45_873_056, "torch", "torchvision", "24.01 / 7.02 % (fb.resnet.torch, centre crop)"),
    "101-v1.5":  (44_549_160, 44_654_504,  7_801_405_440,  66_344_864, "torch", "torchvision", "22.44 / 6.21 % (fb.resnet.torch, centre crop)"),
    "152-v1.5":  (60_192_808, 60_344_232, 11_513_626_624,  91_633_568, "torch", "torchvision", "21.69 % top-1 (torchvision V1, centre crop)"),
    "50-keras":  (25_583_592, 25_636_712,  3_857_973_248,  43_765_664, "caffe", "keras.applications", "25.1 / 7.9 % (keras.io)"),
    "101-keras": (44_601_832, 44_707_176,  7_570_194_432,  64_237_472, "caffe", "keras.applications", "23.6 / 7.2 % (keras.io)"),
    "152-keras": (60_268_520, 60_419_944, 11_282_415_616,  89_526_176, "caffe", "keras.applications", "23.4 / 6.9 % (keras.io)"),
    "50-v2":     (25_568_360, 25_613_800,  3_482_255_360,  39_902_112, "tf", "keras.applications", "24.0 / 7.0 % (keras.io)"),
    "101-v2":    (44_577_896, 44_675_560,  7_194_476_544,  60_373_920, "tf", "keras.applications", "22.8 / 6.2 % (keras.io)"),
    "152-v2":    (60_236_904, 60_380_648, 10_906_697_728,  85_662_624, "tf", "keras.applications", "22.0 / 5.8 % (keras.io)"),
}
# fmt: on
NETS = {
    variant if variant.startswith("plain") else f"resnet-{variant}": Net(
        variant=variant,
        year=2016 if variant.endswith("v2") else 2015,
        source=_PREACT if variant.endswith("v2") else _HE,
        oracle=oracle,
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        error=error,
        pixels=pixels,
        options=OPTIONS,
        stages=_stages(variant),
    )
    for variant, (params, total, macs, activations, pixels, oracle, error) in _NUMBERS.items()
}
