"""DenseNet: Huang et al. 2017, Densely connected convolutional networks, Tables 1 and 2.

A layer reads the maps of all layers before it in its block and adds `growth` of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import layers

from tlkit.nets._rows import AvgPool, Conv, GlobalAvgPool, MaxPool, logits
from tlkit.nets._spec import Net, Options
from tlkit.nets.resnet import Bare, Preactivation, preactivate

IMAGENET = {"options": Options(norm="batch", epsilon=1.001e-5)}
CIFAR = {
    "options": Options(norm="batch", epsilon=1e-5, momentum=0.9),
    "input_shape": (32, 32, 3),
    "classes": 10,
}

# fmt: off
TABLE = {
    #             growth  dense blocks         stem  bottleneck  compression
    "121":       (32,     (6, 12, 24, 16),      64,  True,       0.5),
    "169":       (32,     (6, 12, 32, 32),      64,  True,       0.5),
    "201":       (32,     (6, 12, 48, 32),      64,  True,       0.5),
    "161":       (48,     (6, 12, 36, 24),      96,  True,       0.5),
    "40-12":     (12,     (12, 12, 12),         16,  False,      1.0),
    "100-12":    (12,     (32, 32, 32),         16,  False,      1.0),
    "100-24":    (24,     (32, 32, 32),         16,  False,      1.0),
    "bc-100-12": (12,     (16, 16, 16),         24,  True,       0.5),
    "bc-250-24": (24,     (41, 41, 41),         48,  True,       0.5),
    "bc-190-40": (40,     (31, 31, 31),         80,  True,       0.5),
}
# fmt: on


@dataclass(frozen=True)
class Layer:
    """Normalization, activation, 3x3 convolution, section 3; a bottleneck puts a 1x1 to four
    times the growth before it."""

    growth: int
    bottleneck: bool

    def __call__(self, x, name, options):
        y = preactivate(x, f"{name}_0", options)
        if self.bottleneck:
            y = Conv(4 * self.growth, 1)(y, f"{name}_1", options)
        y = Bare(self.growth, 3)(y, f"{name}_2", options)
        return layers.Concatenate(name=name)([x, y])


@dataclass(frozen=True)
class Transition:
    """Normalization, activation, 1x1 to a share of the maps, 2x2 average."""

    compression: float

    def __call__(self, x, name, options):
        y = preactivate(x, f"{name}_0", options)
        y = Bare(int(x.shape[-1] * self.compression), 1)(y, f"{name}_1", options)
        return AvgPool(2)(y, name, options)


def features(variant: str) -> Iterator[tuple]:
    """Yields (name, row) up to the last normalized map: 7x7 of 224 pixels, 8x8 of 32."""
    growth, blocks, stem, bottleneck, compression = TABLE[variant]
    yield from _stem(stem, imagenet=len(blocks) == 4)
    first = 6 - len(blocks)  # ImageNet: conv2 ... conv5, CIFAR: conv3 ... conv5, 32 ... 8 pixels
    for number, count in enumerate(blocks, start=first):
        for index in range(1, count + 1):
            yield f"conv{number}_{index}", Layer(growth, bottleneck)
        if number < 5:
            yield f"pool{number}", Transition(compression)
    yield "post", Preactivation()


def top(variant: str, classes: int) -> Iterator[tuple]:
    """Yields (name, row) from the feature map to the logits."""
    yield "pool", GlobalAvgPool()
    yield "fc", logits(classes)


def _stem(filters, imagenet):
    if imagenet:
        yield "conv1", Conv(filters, 7, 2, pad=3)
        yield "pool1", MaxPool(3, 2, pad=1)
    else:
        yield "conv1", Bare(filters, 3)


def _stages(blocks):
    first = 6 - len(blocks)
    stem = ("conv1", "pool1") if first == 2 else ("conv1", "conv1")
    return (stem, *((f"conv{n}", f"pool{n}") for n in range(first, 5)), ("conv5", "post_act"))


# fmt: off
_NUMBERS = {
    #             trainable   with statistics  multiply-adds  activations  oracle, published error
    "121":       ( 7_978_856,  8_062_504, 2_834_161_664,  29_712_288, "torchvision, keras.applications", "25.0 % top-1 (authors, centre crop)"),
    "169":       (14_149_480, 14_307_880, 3_359_843_328,  31_345_568, "torchvision, keras.applications", "23.6 % top-1 (authors, centre crop)"),
    "201":       (20_013_928, 20_242_984, 4_291_365_888,  33_604_512, "torchvision, keras.applications", "22.5 % top-1 (authors, centre crop)"),
    "161":       (28_681_000, 28_900_936, 7_727_907_072,  47_184_544, "torchvision",                     "22.2 % top-1 (authors, centre crop)"),
    "40-12":     ( 1_019_722,  1_037_818,   264_812_928,   2_062_120, "hand count", "5.24 % CIFAR-10+, 24.42 % CIFAR-100+"),
    "100-12":    ( 6_979_642,  7_096_858, 1_769_516_448,   5_198_440, "hand count", "4.10 % CIFAR-10+, 20.20 % CIFAR-100+"),
    "100-24":    (27_249_082, 27_480_346, 6_889_347_744,  10_216_552, "hand count", "3.74 % CIFAR-10+, 19.25 % CIFAR-100+"),
    "bc-100-12": (   769_162,    793_150,   287_929_692,   6_017_920, "hand count", "4.51 % CIFAR-10+, 22.27 % CIFAR-100+"),
    "bc-250-24": (15_324_406, 15_582_382, 5_418_785_724,  30_267_712, "hand count", "3.62 % CIFAR-10+, 17.60 % CIFAR-100+"),
    "bc-190-40": (25_624_430, 25_881_390, 9_301_945_740,  38_275_168, "hand count", "3.46 % CIFAR-10+, 17.18 % CIFAR-100+"),
}
# fmt: on
NETS = {
    f"densenet-{variant}": Net(
        variant=variant,
        year=2016,
        source="Huang et al. 2017, Tables 1 and 2",
        oracle=oracle,
        params=params,
        total=total,
        macs=macs,
        activation_bytes=activations,
        error=error,
        stages=_stages(TABLE[variant][1]),
        **(IMAGENET if len(TABLE[variant][1]) == 4 else CIFAR),
    )
    for variant, (params, total, macs, activations, oracle, error) in _NUMBERS.items()
}
